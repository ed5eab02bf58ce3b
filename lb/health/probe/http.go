package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ipvslab/ipvslab/lb/health"
)

// maxBody is how much of a body is looked at.
const maxBody = 64 << 10

// http does one GET; a redirection is an answer like any other.
func (p Prober) http(ctx context.Context, c *health.Check, what health.Probe) error {
	resp, err := p.roundTrip(ctx, c, what, http.MethodGet, c.Path, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if !slices.ContainsFunc(c.Status, func(r health.StatusRange) bool { return r.Contains(resp.StatusCode) }) {
		return fmt.Errorf("GET %s: status %d, expected %s", c.Path, resp.StatusCode, ranges(c.Status))
	}
	if c.Body == "" {
		return nil
	}
	re, err := regexp.Compile(c.Body)
	if err != nil {
		return fmt.Errorf("GET %s: %w", c.Path, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("GET %s: read body: %w", c.Path, err)
	}
	if !re.Match(body) {
		return fmt.Errorf("GET %s: the body, which begins with %q, does not match %q", c.Path, clip(body), c.Body)
	}
	return nil
}

func ranges(list []health.StatusRange) string {
	words := make([]string, len(list))
	for i, r := range list {
		words[i] = strconv.Itoa(r.First)
		if r.Last != r.First {
			words[i] += "-" + strconv.Itoa(r.Last)
		}
	}
	return strings.Join(words, ", ")
}

// roundTrip sends one request over a connection of its own, which ends with
// the answer's body. With protocols that are not nil it speaks these.
func (p Prober) roundTrip(ctx context.Context, c *health.Check, what health.Probe, method, path string, body []byte, protocols *http.Protocols) (*http.Response, error) {
	address := net.JoinHostPort(what.Address.Addr.String(), strconv.Itoa(int(what.Address.Port)))
	scheme, host := "http", c.Host
	if host == "" {
		host = address
	}
	if c.TLS {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = host
	req.Header.Set("User-Agent", "ipvslab-check")
	if protocols != nil { // that is gRPC
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	}
	t := &http.Transport{
		DisableKeepAlives: protocols == nil, // HTTP/2 has no way to say so
		Protocols:         protocols,
		// The certificate is not looked at: a check asks whether the server works.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: c.Host},
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx, "tcp", what) },
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		t.CloseIdleConnections()
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	resp.Body = &lastBody{resp.Body, t}
	return resp, nil
}

// lastBody ends the connection with the answer.
type lastBody struct {
	io.ReadCloser
	t *http.Transport
}

func (b *lastBody) Close() error {
	err := b.ReadCloser.Close()
	b.t.CloseIdleConnections()
	return err
}

// The call of gRPC's health service
// (github.com/grpc/grpc/blob/master/doc/health-checking.md). One unary call is
// one POST over HTTP/2 with a request of one field and an answer of one field,
// so it is encoded here by hand: the whole of gRPC would cost every command of
// this program its start-up time.
const (
	grpcMethod  = "/grpc.health.v1.Health/Check"
	grpcPrefix  = 5    // a byte of flags and the message's length, big endian
	grpcField   = 0x0a // field 1, a string: HealthCheckRequest.service
	grpcStatus  = 0x08 // field 1, a number: HealthCheckResponse.status
	grpcServing = 1
	maxMessage  = 1 << 10
)

var grpcStatusNames = map[uint64]string{0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

func (p Prober) grpc(ctx context.Context, c *health.Check, what health.Probe) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(!c.TLS)
	protocols.SetHTTP2(c.TLS)
	resp, err := p.roundTrip(ctx, c, what, http.MethodPost, grpcMethod, grpcRequest(c.Service), protocols)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "application/grpc") {
		return fmt.Errorf("%s: status %d, content type %q: no gRPC server", grpcMethod, resp.StatusCode, kind)
	}
	message, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage)) // to the end, after which the trailer is there
	if err != nil {
		return fmt.Errorf("%s: %w", grpcMethod, err)
	}
	code, why := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if code == "" { // an answer without message has its trailer in the header
		code, why = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	if code != "0" {
		return fmt.Errorf("%s for service %q: gRPC status %q %s", grpcMethod, c.Service, code, why)
	}
	status, err := grpcAnswer(message)
	if err != nil {
		return fmt.Errorf("%s: %w", grpcMethod, err)
	}
	if status != grpcServing {
		return fmt.Errorf("%s for service %q: %s (%d)", grpcMethod, c.Service, grpcStatusNames[status], status)
	}
	return nil
}

// grpcRequest is a HealthCheckRequest with its prefix.
func grpcRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = binary.AppendUvarint([]byte{grpcField}, uint64(len(service)))
		message = append(message, service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// grpcAnswer reads a HealthCheckResponse with its prefix. Fields that are not
// known are an error: there are none.
func grpcAnswer(b []byte) (status uint64, err error) {
	if len(b) < grpcPrefix || b[0] != 0 || int(binary.BigEndian.Uint32(b[1:])) != len(b)-grpcPrefix {
		return 0, fmt.Errorf("the answer of %d bytes is no gRPC message", len(b))
	}
	b = b[grpcPrefix:]
	if len(b) == 0 {
		return 0, nil // the default is left out
	}
	status, n := binary.Uvarint(b[1:])
	if b[0] != grpcStatus || n <= 0 || len(b) != 1+n {
		return 0, errors.New("the answer is no HealthCheckResponse")
	}
	return status, nil
}
