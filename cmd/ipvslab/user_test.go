package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const ordinary = 1000 // a uid that is nobody in particular

// asOrdinary gives a place to an ordinary user, with a copy of the kernels.
func (p *place) asOrdinary() {
	p.t.Helper()
	cache := filepath.Join(p.root, "cache")
	if err := os.MkdirAll(filepath.Join(cache, "ipvslab"), 0o755); err != nil {
		p.t.Fatal(err)
	}
	kernels := filepath.Join(hostCache, "ipvslab", "kernels")
	if _, err := os.Stat(kernels); err == nil {
		// Links if they can be, as it is much.
		if out, err := exec.Command("sh", "-c", `cp -rl "$1" "$2" 2>/dev/null || cp -r "$1" "$2"`, "sh", kernels, cache+"/ipvslab/").CombinedOutput(); err != nil {
			p.t.Fatalf("copy kernels: %v\n%s", err, out)
		}
	}
	own := []string{p.root, p.dir, p.bin(), p.runtime(), p.temp(), p.root + "/home", cache, cache + "/ipvslab"}
	for _, dir := range own {
		if err := os.Chown(dir, ordinary, ordinary); err != nil {
			p.t.Fatal(err)
		}
	}
	p.env = append(p.env, "XDG_CACHE_HOME="+cache)
	p.uid = ordinary
}

// TestOrdinaryUser: all of it without root.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("all tests run as an ordinary user")
	}
	needGuest(t)
	p := newPlace(t)
	p.example("minimal.yaml")
	p.asOrdinary()
	if r := p.run("--kernel", "host", "up", "minimal.yaml"); r.status != exitFailed || !strings.Contains(r.errors, "not host") {
		t.Errorf("on the host: %+v", r)
	}
	p.ok("up", "minimal.yaml")
	if out := p.ok("exec", "client", "--", "sh", "-c", "curl -s http://10.0.0.100/; id -u; echo mine >file"); !strings.HasSuffix(out, "\n0\n") {
		t.Errorf("in the node: %q", out)
	}
	p.owned("file")
	if out := p.ok("status"); !strings.Contains(out, "minimal") {
		t.Errorf("status: %q", out)
	}
	if r := finish(t, exec.Command("ipvslab", "status")); strings.Contains(r.out, p.dir) {
		t.Errorf("another user sees it: %+v", r)
	}
	p.ok("down", "minimal")
	p.nothingLeft()
	if r := p.run("run", "minimal.yaml", "--", "sh", "-c", "echo mine >file2; exit 3"); r.status != 3 {
		t.Errorf("run: %+v", r)
	}
	p.owned("file2")
	if r := p.run("kernel", "exec", "--", "sh", "-c", "id -u; touch /usr/ipvslab-test"); r.status == 0 || !strings.HasPrefix(r.out, "0\n") {
		t.Errorf("kernel exec: %+v", r)
	}
}

// owned sees that a file in the working directory is the invoking user's.
func (p *place) owned(name string) {
	p.t.Helper()
	info, err := os.Stat(filepath.Join(p.dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != p.uid {
		p.t.Errorf("%s belongs to %d", name, uid)
	}
}
