package lab

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
)

// A namespace that is being torn down must not lend its number to another one,
// whose processes would then be ended with the lab.
func TestNumbersStayTakenWhileTornDown(t *testing.T) {
	probetest.Namespaces(t)
	name := func(i int) string { return fmt.Sprintf("t%d-number-%d", os.Getpid(), i) }
	create := func(i int) {
		if err := netns.Create(name(i)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := netns.Delete(name(i)); err != nil && !errors.Is(err, netns.ErrNotExist) {
				t.Error(err)
			}
		})
	}
	create(0)
	spaces, release, err := present([]string{name(0)})
	if err != nil || len(spaces) != 1 {
		t.Fatal(spaces, err)
	}
	defer release()
	if err := netns.Delete(name(0)); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		create(i + 1)
		ns, err := netns.Open(name(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		if _, taken := spaces[ns.ID()]; taken {
			t.Fatalf("the namespace made after it has its number, %v", ns.ID())
		}
	}
}
