package vrrp

import (
	"crypto/subtle"
	"errors"
	"fmt"
)

// AuthType is version 2's authentication as RFC 2338, section 5.3.6, has it.
// RFC 3768 has taken it out of the protocol, and keepalived has kept it.
type AuthType uint8

// The types.
const (
	AuthNone AuthType = 0
	AuthPass AuthType = 1 // a password in clear text
	AuthAH   AuthType = 2 // an IP authentication header, RFC 2402: not spoken here
)

// String is keepalived's word.
func (t AuthType) String() string {
	switch t {
	case AuthNone:
		return "no authentication"
	case AuthPass:
		return "authentication PASS"
	case AuthAH:
		return "authentication AH"
	}
	return fmt.Sprintf("authentication of type %d", uint8(t))
}

// Password is what version 2 carries in clear text: padded with zeros, and cut
// off where it is longer, as keepalived does (auth_pass in keepalived.conf(5)).
type Password [authLen]byte

// MaxPassword is how many bytes of a password count.
const MaxPassword = authLen

// PasswordOf makes a Password of text.
func PasswordOf(text string) (p Password) {
	copy(p[:], text)
	return p
}

// The reasons for which an advertisement is not believed.
var (
	ErrAuth     = errors.New("version 2's authentication is not as configured")
	ErrPassword = fmt.Errorf("%w: wrong password", ErrAuth)
)

// authentic tells whether an advertisement of version 2 has the authentication
// that is configured, and no other.
func (a *Advert) authentic(want Password) bool {
	if want == (Password{}) {
		return a.AuthType == AuthNone // whatever its authentication data is: RFC 3768, section 5.3.10
	}
	return a.AuthType == AuthPass && subtle.ConstantTimeCompare(a.Password[:], want[:]) == 1
}

// authFault is why an advertisement is not authentic.
func authFault(a Advert, want Password) error {
	switch {
	case a.AuthType == AuthAH:
		return fmt.Errorf("%w: AH is not spoken here, only PASS", ErrAuth)
	case want == (Password{}):
		return fmt.Errorf("%w: none is configured here", ErrAuth)
	case a.AuthType == AuthNone:
		return fmt.Errorf("%w: PASS is configured here", ErrAuth)
	case a.AuthType == AuthPass:
		return ErrPassword
	}
	return fmt.Errorf("%w: there is no such type", ErrAuth)
}
