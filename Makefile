.PHONY: build
build: ## Build bin/ipvslab
	CGO_ENABLED=0 go build -o bin/ipvslab ./cmd/ipvslab
