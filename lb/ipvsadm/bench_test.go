package ipvsadm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb/ipvs"
)

// TestSpeed reports, and does not judge, how long 1,000 services with 10 real
// servers each take to restore and to list.
func TestSpeed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	needReal(t)
	var in strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&in, "-A -t 10.1.%d.%d:80 -s rr\n", i/250, i%250)
		for j := range 10 {
			fmt.Fprintf(&in, "-a -t 10.1.%d.%d:80 -r 10.2.%d.%d:80 -m -w 1\n", i/250, i%250, i%250, j)
		}
	}
	restore := commandLine{argv: []string{"ipvsadm", "-R"}, stdin: in.String()}
	lists := commandLine{argv: []string{"ipvsadm", "-Ln"}}
	inNamespace(t, func() error {
		table, err := ipvs.Open(t.Context(), "")
		if err != nil {
			return err
		}
		defer table.Close()
		for range 3 {
			for name, run := range map[string]runner{"original": real, "ours": ours} {
				start := time.Now()
				if o := run(t, table, restore); o != (outcome{}) {
					t.Errorf("%s: %+v", name, o)
				}
				restored := time.Since(start)
				start = time.Now()
				if o := run(t, table, lists); strings.Count(o.Stdout, "\n") != 11003 {
					t.Errorf("%s: %d lines", name, strings.Count(o.Stdout, "\n"))
				}
				t.Logf("%-8s restore %6d ms, list %6d ms", name, restored.Milliseconds(), time.Since(start).Milliseconds())
				if o := real(t, table, commandLine{argv: []string{"ipvsadm", "-C"}}); o != (outcome{}) {
					t.Errorf("flush: %+v", o)
				}
			}
		}
		return nil
	})
}
