package traffic

import (
	"testing"
	"time"
)

// The client is connected and takes answers only from the address it asked;
// of its own accord the kernel would answer from 127.0.0.1.
func TestUDPAnswersFromTheAddressAsked(t *testing.T) {
	h := startHost(t, nil, ResponderSpec{Node: "rs1", Protocol: UDP, Port: 20053})
	res, err := Run(t.Context(), nil, Spec{Protocol: UDP, To: at("127.0.0.2", 20053), Connections: 3, Timeout: 2 * time.Second})
	must(t, err)
	if res.Identities["rs1"] != 3 {
		t.Errorf("got %v, %v; want 3 answers", res.Identities, res.Errors)
	}
	for _, a := range h.Accepted(0).Entries {
		if a.Local != at("127.0.0.2", 20053) || a.Remote.Addr().String() != "127.0.0.1" {
			t.Errorf("accepted at %s from %s", a.Local, a.Remote)
		}
	}
}
