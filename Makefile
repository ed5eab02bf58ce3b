# make is the one door. `make help` lists what is behind it.
#
# Nothing has to be installed or typed first: what a target needs, it builds or
# fetches, and says so. On a machine whose kernel has no IPVS everything that
# needs one runs in a guest kernel, without root.

BIN      := bin/ipvslab
TOOLS    := bin/tools
GUEST    := $(CURDIR)/$(BIN) kernel exec --

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT  := mvdan.cc/gofumpt@v0.12.0

# Packages whose tests speak to the kernel: they run in one that has IPVS.
# Those that take longest come first.
KERNEL_PKGS := ./scenarios/... ./lab/... ./lb/... ./internal/netns/... ./internal/rtnl/... ./internal/probe/... ./assertions/... ./internal/story/...

# A guest cannot run a program that was built for the race detector: it has too
# little address space. So the packages that boot guests are not here.
RACE_PKGS := ./topology ./lb/... ./lab/... ./assertions ./internal/netns ./internal/rtnl ./internal/probe \
	./internal/launch ./internal/guest/session ./internal/guest/choose ./internal/guest/image ./internal/guest/modules

export CGO_ENABLED ?= 0
unexport IPVSLAB_REQUIRE_KERNEL

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z][a-z0-9.-]*:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# In user-mode Linux a program that begins there starts twice as fast (package prefault).
ENTRY := $(if $(filter amd64,$(or $(GOARCH),$(shell go env GOARCH))),-ldflags=-E=github.com/ipvslab/ipvslab/internal/guest/prefault.entry)

.PHONY: build
build: ## Build bin/ipvslab
	go build -trimpath $(ENTRY) -o $(BIN) ./cmd/ipvslab

.PHONY: kernel
kernel: build ## Fetch a guest kernel if this machine needs one
	@$(BIN) kernel fetch --if-needed

.PHONY: kernel-6.12
kernel-6.12: ## Build Debian's 6.12 as user-mode Linux, once (7 minutes): it has twos, gue, nf_tables
	@ci/kernel/build.sh

.PHONY: lab
lab: kernel ## Play the tutorial as a story; STEP=n starts at a step
	@$(BIN) tutorial $(if $(STEP),--step $(STEP)) examples/article.yaml

# A guest has one CPU, and tests on this machine often wait: so the tests in the guest go on beside
# the others, which are the units first and then, one package at a time, what boots guests itself.
.PHONY: test
test: kernel ## Run everything: units, command-line scripts, scenarios in a real kernel
	@$(MAKE) --no-print-directory -j2 PACKAGES_AT_ONCE=1 UNITS_FIRST=test-unit test-guest test-kernel

# VRRP on a network waits for its timers: once is enough, and test-kernel does it.
.PHONY: test-unit
test-unit: kernel ## What runs on this machine's own kernel
	go test $(filter-out %/internal/guest %/cmd/ipvslab %/lb/vrrp/wire,$(shell go list ./... | grep -v /internal/guest/))

# In CI (which sets CI) a kernel or an emulator that is missing is a failure.
.PHONY: test-guest
test-guest: kernel $(UNITS_FIRST) ## Guests and the command line: these tests boot kernels themselves
	IPVSLAB_REQUIRE_KERNEL=$(if $(CI),1) go test -count=1 $(addprefix -p=,$(PACKAGES_AT_ONCE)) ./cmd/... ./internal/guest/...

.PHONY: test-kernel
test-kernel: kernel ## What needs IPVS: natively where the kernel has it, else in the guest
	IPVSLAB_REQUIRE_KERNEL=1 go test -short -count=1 -exec "$(GUEST)" $(KERNEL_PKGS)

.PHONY: soak
soak: SECONDS ?= 60
soak: kernel ## Random runs on kernel and model side by side, for SECONDS=n; and every comparison at full length
	IPVSLAB_REQUIRE_KERNEL=1 go test -count=1 -timeout 0 -exec "$(GUEST)" ./lb/oracle -soak $(SECONDS)s -picks 10000
	IPVSLAB_REQUIRE_KERNEL=1 go test -count=1 -timeout 0 -exec "$(GUEST)" ./lb/ipvsadm -run Differential -generated 200

.PHONY: test-long
test-long: kernel ## Every planted defect, every kill at random: the tests that test-kernel keeps short
	IPVSLAB_REQUIRE_KERNEL=1 go test -count=1 -timeout 60m -exec "$(GUEST)" ./lab ./scenarios ./lb/vrrp/wire
	go test -count=1 ./cmd/ipvslab -run 'TestKilled$$' -kill.for 10m

# KERNELS names more kernels by path; MATRIX="-only 6.12 -job model" runs a part on one and keeps
# the other results, MATRIX=-full runs everything under QEMU too,
# MATRIX=-build=false builds no kernel.
.PHONY: matrix
matrix: kernel ## The suite on every kernel at hand (fetches and builds them; KERNELS="path ..."), into docs/kernels.md
	go run ./ci/matrix -out docs/kernels.md $(MATRIX) $(KERNELS)

.PHONY: race
race: ## The unit tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -short $(RACE_PKGS)

.PHONY: lint
lint: $(TOOLS)/golangci-lint $(TOOLS)/gofumpt ## Check style and the house's import rules
	$(TOOLS)/golangci-lint run ./...

.PHONY: fmt
fmt: $(TOOLS)/gofumpt ## Format the code
	$(TOOLS)/gofumpt -w cmd internal lab lb topology assertions scenarios ci

$(TOOLS)/golangci-lint:
	GOBIN=$(CURDIR)/$(TOOLS) go install $(GOLANGCI)

$(TOOLS)/gofumpt:
	GOBIN=$(CURDIR)/$(TOOLS) go install $(GOFUMPT)

.PHONY: generate
generate: kernel ## Rewrite what is generated: the schema, goldens, docs
	go test ./topology/... -update
	go test -count=1 -exec "$(CURDIR)/$(BIN) kernel exec --writable $(CURDIR)/docs --" ./lab -run TestDirectorsTable -update
	go test ./scenarios/connections -run Reference -update

.PHONY: bench
bench: kernel ## Measure, side by side, and write docs/benchmarks.md
	go run ./ci/bench -out docs/benchmarks.md

.PHONY: clean
clean: ## Remove what was built here (not the kernel cache)
	rm -rf bin
