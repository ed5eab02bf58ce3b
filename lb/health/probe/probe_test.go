package probe_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/health/probe"
)

// addr is a listener's address.
func addr(t *testing.T, a net.Addr) lb.DestKey {
	t.Helper()
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	return lb.DestKey{Addr: ap.Addr(), Port: ap.Port()}
}

func tcp(t *testing.T) net.Listener { return accepting(t, "127.0.0.1:0") }

// accepting is a server that takes connections and says nothing.
func accepting(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close() // when the listener is closed
		}
	}()
	return l
}

// udp answers each datagram with what answer makes of it, if anything.
func udp(t *testing.T, answer func(string) string) lb.DestKey {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if text := answer(string(b[:n])); text != "" {
				conn.WriteTo([]byte(text), from)
			}
		}
	}()
	return addr(t, conn.LocalAddr())
}

// handler is a web server that is well at /, and ill elsewhere.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "host %s is well\n", r.Host) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	mux.HandleFunc("/ill", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			io.WriteString(w, strings.Repeat("x", 4096))
		}
	})
	return mux
}

// grpcHandler answers as grpc.health.v1.Health does; the service's name says how.
func grpcHandler(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	service := ""
	if len(body) > 7 {
		service = string(body[7:])
	}
	if err != nil || r.ProtoMajor != 2 || r.URL.Path != "/grpc.health.v1.Health/Check" || r.Header.Get("Te") != "trailers" ||
		len(body) < 5 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	if service == "unknown" { // without a message, the trailer is the header
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Grpc-Message", "unknown service")
		return
	}
	w.Header().Set("Trailer", "Grpc-Status")
	message := []byte{8, 1}
	switch service {
	case "ill":
		message[1] = 2
	case "default":
		message = nil
	case "junk":
		message = []byte{18, 1, 0}
	}
	w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	w.Header().Set("Grpc-Status", "0")
}

func grpcServer(t *testing.T, overTLS bool) lb.DestKey {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(grpcHandler))
	t.Cleanup(s.Close)
	if overTLS {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	}
	return addr(t, s.Listener.Addr())
}

// TestChecks does every kind of check with servers that are well and ill.
func TestChecks(t *testing.T) {
	web := httptest.NewServer(handler())
	t.Cleanup(web.Close)
	secure := httptest.NewTLSServer(handler())
	secure.Config.ErrorLog = nil
	t.Cleanup(secure.Close)
	listening, closed := tcp(t), tcp(t)
	nobody := addr(t, closed.Addr())
	closed.Close()
	webAt, secureAt := addr(t, web.Listener.Addr()), addr(t, secure.Listener.Addr())
	pong := udp(t, func(s string) string { return strings.Replace(s, "ping", "pong", 1) })
	silent := udp(t, func(string) string { return "" })
	plain, tls := grpcServer(t, false), grpcServer(t, true)
	ok := []health.StatusRange{{First: 200, Last: 299}}
	short := 100 * time.Millisecond
	for _, c := range []struct {
		name string
		at   lb.DestKey
		check
		want string // part of the failure; empty: the server works
	}{
		{"tcp", addr(t, listening.Addr()), check{Kind: health.TCP}, ""},
		{"tcp refused", nobody, check{Kind: health.TCP}, "connection refused"},
		{"http", webAt, check{Kind: health.HTTP, Path: "/", Status: ok}, ""},
		{"http host and body", webAt, check{Kind: health.HTTP, Path: "/", Status: ok, Host: "shop.test", Body: "^host shop.test is w..l"}, ""},
		{"http wrong body", webAt, check{Kind: health.HTTP, Path: "/", Status: ok, Body: "ill"}, `does not match "ill"`},
		{"http status", webAt, check{Kind: health.HTTP, Path: "/ill", Status: ok}, "status 503, expected 200-299"},
		{"http other status", webAt, check{Kind: health.HTTP, Path: "/ill", Status: append(ok, health.StatusRange{First: 503, Last: 503})}, ""},
		{"http does not follow", webAt, check{Kind: health.HTTP, Path: "/moved", Status: ok}, "status 302"},
		{"http slow", webAt, check{Kind: health.HTTP, Path: "/slow", Status: ok, Timeout: short}, "no verdict within 100ms"},
		{"http endless body", webAt, check{Kind: health.HTTP, Path: "/endless", Status: ok, Body: "^x+$"}, ""},
		{"http on a port that does not speak it", addr(t, listening.Addr()), check{Kind: health.HTTP, Path: "/", Status: ok, Timeout: short}, "no verdict"},
		{"http refused", nobody, check{Kind: health.HTTP, Path: "/", Status: ok}, "connection refused"},
		{"https", secureAt, check{Kind: health.HTTP, Path: "/", Status: ok, TLS: true, Host: "shop.test", Body: "shop.test"}, ""},
		{"https to http", webAt, check{Kind: health.HTTP, Path: "/", Status: ok, TLS: true}, "tls: "},
		{"udp", pong, check{Kind: health.UDP, Send: "ping 1", Expect: "pong"}, ""},
		{"udp other answer", pong, check{Kind: health.UDP, Send: "hello", Expect: "pong"}, `the answer is "hello"`},
		{"udp silent", silent, check{Kind: health.UDP, Timeout: short}, ""},
		{"udp silent, answer wanted", silent, check{Kind: health.UDP, Send: "ping", Expect: "pong", Timeout: short}, "no verdict within 100ms"},
		{"udp refused", nobody, check{Kind: health.UDP}, "connection refused"},
		{"grpc", plain, check{Kind: health.GRPC}, ""},
		{"grpc service", plain, check{Kind: health.GRPC, Service: "shop.v1.Shop"}, ""},
		{"grpc over tls", tls, check{Kind: health.GRPC, TLS: true, Host: "shop.test"}, ""},
		{"grpc ill", plain, check{Kind: health.GRPC, Service: "ill"}, "NOT_SERVING"},
		{"grpc default status", plain, check{Kind: health.GRPC, Service: "default"}, "UNKNOWN"},
		{"grpc unknown service", plain, check{Kind: health.GRPC, Service: "unknown"}, `gRPC status "5" unknown service`},
		{"grpc junk", plain, check{Kind: health.GRPC, Service: "junk"}, "no HealthCheckResponse"},
		{"grpc to a web server", webAt, check{Kind: health.GRPC}, "/grpc.health.v1.Health/Check"},
		{"grpc refused", nobody, check{Kind: health.GRPC}, "connection refused"},
		{"command", nobody, check{Kind: health.Command, Argv: []string{"sh", "-c", `test "$IPVSLAB_REAL_PORT" = ` + port(nobody)}}, ""},
		{"command fails", nobody, check{Kind: health.Command, Argv: []string{"sh", "-c", "echo 1; echo out of order >&2; exit 3"}}, "exit status 3: out of order"},
		{"command missing", nobody, check{Kind: health.Command, Argv: []string{"./no-such-check"}}, "no-such-check"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			what := health.Check(c.check)
			if what.Timeout == 0 {
				what.Timeout = 10 * time.Second
			}
			err := probe.Prober{}.Check(t.Context(), health.Probe{
				Service: health.Service{Name: "web"}, Check: &what, Server: lb.Destination{DestKey: c.at}, Address: c.at,
			})
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

type check health.Check

func port(k lb.DestKey) string { return strconv.Itoa(int(k.Port)) }

// TestCommandEndsWithItsChildren: a check that takes too long leaves no process.
func TestCommandEndsWithItsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	var text []byte
	for within := 300 * time.Millisecond; len(text) == 0; within *= 3 { // a busy machine takes its time to start the child
		what := health.Check{
			Kind: health.Command, Timeout: within,
			Argv: []string{"sh", "-c", `sleep 1000 & echo $! >"$0.new"; mv "$0.new" "$0"; wait`, file},
		}
		err := probe.Prober{}.Check(t.Context(), health.Probe{Check: &what})
		if want := fmt.Sprintf("no verdict within %v", within); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v", err)
		}
		if text, err = os.ReadFile(file); err != nil && within > 20*time.Second {
			t.Fatalf("the child does not start: %v", err)
		}
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for alive(child) {
		select {
		case <-ctx.Done():
			t.Fatalf("child %d still runs", child)
		case <-tick.C:
		}
	}
}

// alive tells whether a process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestWatch has a server go away and come back.
func TestWatch(t *testing.T) {
	l := tcp(t)
	at := addr(t, l.Addr())
	s := health.Service{
		Name: "web", Quorum: 1,
		Spec:  lb.Service{Key: lb.AddrKey(lb.TCP, at.Addr, 80), Scheduler: "rr", Destinations: []lb.Destination{{DestKey: at, Weight: 1}}},
		Check: &health.Check{Kind: health.TCP, Interval: 5 * time.Millisecond, DelayBeforeRetry: time.Millisecond, Timeout: time.Second, Rise: 2, Fall: 2},
	}
	m := health.NewMonitor([]health.Service{s}, time.Now(), health.Options{})
	events := make(chan health.Event, 10)
	w := probe.NewWatcher(m, probe.Prober{}, func(list []health.Event) {
		for _, e := range list {
			events <- e
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	expect := func(kinds ...health.EventKind) {
		t.Helper()
		for _, k := range kinds {
			select {
			case e := <-events:
				if e.Kind != k {
					t.Fatalf("event %+v, want %s", e, k)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("no event, want %s", k)
			}
		}
	}
	l.Close()
	expect(health.Down, health.QuorumLost)
	if states := m.States(); len(states) != 1 || states[0].Up || states[0].Failure == "" {
		t.Errorf("states %+v", states)
	}
	accepting(t, l.Addr().String())
	expect(health.Up, health.QuorumGained)
	m.Reload(nil, time.Now())
	w.Wake()
	cancel()
	<-done
	if len(events) > 0 {
		t.Errorf("more events: %+v", <-events)
	}
}
