package traffic

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// IdentityHeader carries the identity in every HTTP answer.
const IdentityHeader = "X-Real-Server"

// httpServer answers every path with the identity and a newline, but
//
//	/bytes?n=N   N bytes of body
//	/slow?d=D    the same as / after D, a Go duration
//	/status?c=N  the same as / with status N
//	/healthz     "ok"
//
// How long a connection may be idle is the client's to say, as with TCP; one
// that vanished is found out by keep-alives. No connection has a timer, see [alarm].
type httpServer struct {
	http *http.Server
	done sync.WaitGroup
}

func serveHTTP(r *Responder, listeners []*net.TCPListener) *httpServer {
	s := &httpServer{http: &http.Server{
		Handler: httpHandler{r, []byte(r.spec.Identity + "\n")},
		// What goes wrong on a connection is the client's to see and report.
		ErrorLog: log.New(io.Discard, "", 0),
	}}
	for _, l := range listeners {
		s.done.Go(func() { _ = s.http.Serve(httpListener{witnessed{l, r}}) })
	}
	return s
}

// Close implements io.Closer.
func (s *httpServer) Close() error {
	err := s.http.Close()
	s.done.Wait()
	return err
}

type httpHandler struct {
	r    *Responder
	body []byte
}

// ServeHTTP implements http.Handler.
func (h httpHandler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h.r.requests.Add(1)
	w.Header()[IdentityHeader] = []string{h.r.spec.Identity}
	switch req.URL.Path {
	case "/bytes":
		h.bytes(w, req)
		return
	case "/slow":
		d, err := time.ParseDuration(req.FormValue("d"))
		if err != nil {
			http.Error(w, "d is to be a duration such as 250ms: "+err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(d):
		case <-req.Context().Done():
			return
		}
	case "/status":
		if code, err := strconv.Atoi(req.FormValue("c")); err == nil && code >= 200 && code < 600 {
			w.WriteHeader(code)
		}
	case "/healthz":
		_, _ = io.WriteString(w, "ok\n")
		return
	}
	// A failed write is a client that went away: it knows.
	_, _ = w.Write(h.body)
}

func (h httpHandler) bytes(w http.ResponseWriter, req *http.Request) {
	n, err := strconv.ParseInt(req.FormValue("n"), 10, 64)
	if err != nil || n < 0 {
		http.Error(w, "n is to be a number of bytes", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	chunk := make([]byte, 16<<10)
	for i := range chunk {
		chunk[i] = 'a' + byte(i%26)
	}
	for n > 0 {
		part := chunk[:min(n, int64(len(chunk)))]
		if _, err := w.Write(part); err != nil {
			return
		}
		n -= int64(len(part))
	}
}

// outOfResources tells a passing shortage from a closed listener.
func outOfResources(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
