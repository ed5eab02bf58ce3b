package ipvsadm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/lb/lbtest"
)

// session runs command lines on one table.
type session struct {
	env ipvsadm.Env
	t   *testing.T
}

func newSession(t *testing.T, table lb.Table) *session {
	return &session{ipvsadm.Env{Table: table, Names: ipvsadm.NoNames{}}, t}
}

func (s *session) run(line, stdin string) outcome {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	env := s.env
	env.Stdin, env.Stdout, env.Stderr = strings.NewReader(stdin), &stdout, &stderr
	status := ipvsadm.Run(s.t.Context(), env, program(splitQuoted(line)))
	return outcome{stdout.String(), stderr.String(), status}
}

func (s *session) want(line, stdin string, want outcome) {
	s.t.Helper()
	if d := cmp.Diff(want, s.run(line, stdin)); d != "" {
		s.t.Errorf("%s (-want +got):\n%s", line, d)
	}
}

// TestArticle types the article's lines as it prints them.
func TestArticle(t *testing.T) {
	s := newSession(t, &lbtest.Fake{})
	s.want("-C", "", outcome{})
	s.want("-A -t 192.168.1.117:80 -s wlc", "", outcome{})
	s.want("-a -t 192.168.1.117:80 -r 172.10.100.130:80 -m", "", outcome{})
	s.want("-a -t 192.168.1.100:80 -r 172.10.100.131:80 -m", "", outcome{Stderr: "Service not defined\n", Status: 255})
	s.env.Hints = true
	s.want("-a -t 192.168.1.100:80 -r 172.10.100.131:80 -m", "", outcome{
		Stderr: "Service not defined: no -A for 192.168.1.100:80; did you mean 192.168.1.117:80?\n", Status: 255,
	})
}

func TestHints(t *testing.T) {
	s := newSession(t, &lbtest.Fake{})
	s.env.Hints = true
	s.want("-D -t 10.0.0.1:80", "", outcome{Stderr: "No such service: no -A for 10.0.0.1:80; the table is empty\n", Status: 255})
	s.want("-A -t 10.0.0.1:80", "", outcome{})
	s.want("-D -u 10.0.0.1:80", "", outcome{
		Stderr: "No such service: no -A for 10.0.0.1:80 with udp; there is one with tcp\n", Status: 255,
	})
	s.want("-A -t 10.0.0.1:80", "", outcome{Stderr: "Service already exists: 10.0.0.1:80 is in the table; -E changes it\n", Status: 255})
	s.want("-d -t 10.0.0.1:80 -r 10.1.0.1", "", outcome{Stderr: "No such destination: 10.0.0.1:80 has no server\n", Status: 255})
	s.want("-a -t 10.0.0.1:80 -r 10.1.0.11:81 -m", "", outcome{})
	s.want("-a -t 10.0.0.1:80 -r 10.1.0.11:81 -m", "", outcome{
		Stderr: "Destination already exists: 10.1.0.11:81 is among the servers of 10.0.0.1:80; -e changes it\n", Status: 255,
	})
	s.want("-d -t 10.0.0.1:80 -r 10.1.0.1:81", "", outcome{
		Stderr: "No such destination: no -r 10.1.0.1:81; did you mean 10.1.0.11:81?\n", Status: 255,
	})
	s.want("-A -t 10.0.0.2:80 -s twos", "", outcome{
		Stderr: "Scheduler or persistence engine not found: this kernel has no ip_vs_twos\n", Status: 255,
	})
	s.want("-L -t 10.0.0.1:81", "", outcome{
		Stderr: "No such service: no -A for 10.0.0.1:81; did you mean 10.0.0.1:80?\n", Status: 1,
	})
}

// rules is a file with mistakes that only the whole file shows.
const rules = `# the web
-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 10.1.0.1 -m
-a -t 10.0.0.2:80 -r 10.1.0.1 -m

-a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 2
-A -t 10.0.0.1:80
-A -t 10.0.0.3:80 -w 1
-A -t 10.0.0.3:80 --nonsense
-Ln
-D -t 10.0.0.1:80
-e -t 10.0.0.1:80 -r 10.1.0.1 -m
`

const complaints = `line 4: -a -t 10.0.0.2:80 -r 10.1.0.1 -m: Service not defined
line 6: -a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 2: Destination already exists
line 7: -A -t 10.0.0.1:80: Service already exists
line 8: -A -t 10.0.0.3:80 -w 1: Illegal 'weight' option with the 'add-service' command
line 9: -A -t 10.0.0.3:80 --nonsense: --nonsense: unknown option
line 10: -Ln: does not change the table; a rules file holds -A, -E, -D, -a, -e, -d, -C, -Z, --set and the sync daemon's commands
line 12: -e -t 10.0.0.1:80 -r 10.1.0.1 -m: Service not defined
`

func TestCheck(t *testing.T) {
	table := &lbtest.Fake{}
	s := newSession(t, table)
	s.want("--check", rules, outcome{Stderr: complaints, Status: 2})
	s.want("-R --check", rules, outcome{Stderr: complaints, Status: 2})

	path := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(path, []byte("-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want("--check "+path, "", outcome{Stderr: path + ": line 2: -A -t 10.0.0.1:80: Service already exists\n", Status: 2})
	none := path + ".none"
	s.want("--check "+none, "", outcome{Stderr: fmt.Sprintf(
		"open rules file: open %[1]s: no such file or directory; save a table with \"ipvsadm-save -n > %[1]s\", "+
			"or make an empty file for an empty table: \": > %[1]s\"\n", none), Status: 1})
	if table.Writes() != 0 {
		t.Errorf("%d changes were made by checking", table.Writes())
	}

	s.want("-R --check", "# good\n-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1 -m\n", outcome{})
	s.want("-Sn", "", outcome{Stdout: "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1\n"})
	s.want("-R --check", "-A -t 10.0.0.2:80\n-A -t 10.0.0.1:80\n", outcome{
		Stderr: "line 2: -A -t 10.0.0.1:80: Service already exists\n", Status: 2,
	})
	s.want("--check", "\x00", outcome{Stderr: "read rules: line 1 holds a zero byte; is this a rules file?\n", Status: 2})
}

func TestRestoreTellsEachLineThatFails(t *testing.T) {
	s := newSession(t, &lbtest.Fake{})
	var in, complaint strings.Builder
	for i := range 3000 { // several batches
		fmt.Fprintf(&in, "-A -t 10.0.%d.%d:80\n", i/250, i%250)
		if i%1000 == 999 {
			fmt.Fprintf(&in, "-A -t 10.0.%d.%d:80\n", i/250, i%250)
			complaint.WriteString("Service already exists\n")
		}
	}
	s.want("-R", in.String(), outcome{Stderr: complaint.String(), Status: 255})
	s.want("-R", "-D -t 10.0.0.0:80\n-D -t 10.0.0.1:80 x\n-C\n", outcome{Stderr: "unexpected argument x\n", Status: 2})
	if got := strings.Count(s.run("-Sn", "").Stdout, "\n"); got != 2999 {
		t.Errorf("%d services, want 2999", got)
	}
}

func TestConnections(t *testing.T) {
	s := newSession(t, &lbtest.Fake{})
	s.want("-Lnc", "", outcome{Stderr: "cannot open file /proc/net/ip_vs_conn\n", Status: 1})
	for err, message := range map[error]string{
		os.ErrNotExist:        "cannot open file /proc/net/ip_vs_conn\n",
		io.ErrUnexpectedEOF:   "unexpected input from /proc/net/ip_vs_conn\n",
		errors.New("no luck"): "no luck\n",
	} {
		s.env.Conns = func(context.Context) ([]lb.Conn, error) { return nil, err }
		s.want("-Lnc", "", outcome{Stderr: message, Status: 1})
	}
	const list = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n" +
		"TCP C0A80167 D431 C0A80175 0050 AC0A6482 0050 SYN_RECV         58\n" +
		"UDP C0A80167 0000 C0A80175 13C4 AC0A6482 13C4 NONE           6000 sip f81d4fae@192.168.1.103\n" +
		"IP_99 C0A80167 0000 C0A80175 0000 AC0A6482 0000 NONE            1\n"
	s.env.Conns = func(context.Context) ([]lb.Conn, error) { return lb.ParseConns(strings.NewReader(list)) }
	s.want("-Lnc", "", outcome{Stdout: "IPVS connection entries\n" +
		"pro expire state       source             virtual            destination\n" +
		"TCP 00:58  SYN_RECV    192.168.1.103:54321 192.168.1.117:80   172.10.100.130:80\n" +
		"UDP 100:00 NONE        192.168.1.103:0    192.168.1.117:5060 172.10.100.130:5060\n" +
		"IP_99 00:01  NONE        192.168.1.103:0    192.168.1.117:0    172.10.100.130:0\n"})
}

// broken is a table that can't be reached.
type broken struct {
	lb.Table
	err error
}

func (b broken) Info(context.Context) (lb.Info, error) { return lb.Info{}, b.err }

func TestNoIPVS(t *testing.T) {
	const sure = "\nAre you sure that IP Virtual Server is built in the kernel or as module?\n"
	for err, message := range map[error]string{
		lb.ErrNoIPVS:          "Protocol not available",
		lb.ErrNotPermitted:    "Permission denied (you must be root)",
		errors.New("no luck"): "no luck",
	} {
		newSession(t, broken{err: err}).want("-h", "", outcome{Stderr: "Can't initialize ipvs: " + message + sure, Status: 2})
	}
}

// full is a disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestFullDisk(t *testing.T) {
	var stderr bytes.Buffer
	env := ipvsadm.Env{Table: &lbtest.Fake{}, Names: ipvsadm.NoNames{}, Stdout: full{}, Stderr: &stderr}
	status := ipvsadm.Run(t.Context(), env, []string{"ipvsadm", "-Ln"})
	if status != 1 || stderr.String() != "ipvsadm: write: no space left on device\n" {
		t.Errorf("status %d, %q", status, stderr.String())
	}
}

// TestFakeAgrees runs the generated sequences on the fake and on the model
// behind --check: both must refuse the same lines.
func TestFakeAgrees(t *testing.T) {
	for _, seq := range sequences(7, 100) {
		s := newSession(t, &lbtest.Fake{Schedulers: slices.Concat(lbtest.Schedulers, []string{"nonsense"})})
		for _, c := range seq.lines {
			if c.stdin != "" || len(c.argv) < 2 {
				continue
			}
			cmd, err := ipvsadm.Parse(c.argv, nil)
			if _, changes := cmd.Change(); err != nil || !changes || cmd.Service.Engine != "" {
				continue
			}
			before, err := s.env.Table.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			after, err := ipvsadm.ReadRules(strings.NewReader(strings.Join(c.argv[1:], " ")), before, nil)
			o := s.run(strings.Join(c.argv[1:], " "), "")
			if strings.HasPrefix(o.Stderr, "Invalid operation") {
				continue // what the kernel alone knows
			}
			var rule *ipvsadm.RuleError
			if errors.As(err, &rule) != (o.Status != 0) || rule != nil && rule.Err.Error()+"\n" != o.Stderr {
				t.Fatalf("%s: --check says %v, the table %+v", c, err, o)
			}
			now, err := s.env.Table.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if rule == nil && !sameTables(after, now) {
				t.Fatalf("%s (-check +table):\n%s", c, cmp.Diff(after, now, byValue))
			}
		}
	}
}

// sameTables compares the destinations and all that counts of the services.
func sameTables(a, b []lb.Service) bool {
	text := func(all []lb.Service) (out []string) {
		for _, s := range all {
			out = append(out, fmt.Sprintf("%+v", s.FullSpec()))
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(text(a), text(b))
}
