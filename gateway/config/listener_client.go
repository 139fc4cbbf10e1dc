package config

import "strconv"

// ClientTLS has clients of a listener prove who they are with certificates (mutual
// TLS). Who may pass with which certificate is said by `mtls` in `use`; without it, in
// the modes `require` and `verify_if_given`, every certificate of the authorities is as
// good as any other. Revocation lists and OCSP are not asked: give out certificates that are
// short-lived, or take the authority out.
//
// Sessions are not resumed on such a listener. A change of the files of authorities is
// noticed as one of the configuration is; from then on requests on connections whose
// certificate is of an authority that has gone are answered 421 and close the connection, so
// that clients connect anew.
type ClientTLS struct {
	// CA are PEM files with the authorities that certificates must come from, one
	// file or a list. A part that cannot be read refuses the configuration. Required,
	// except in the modes `request` and `none`, which know none.
	CA []string `yaml:"ca,one"`
	// Mode is what becomes of clients without a valid certificate. `require` ends the
	// connection. `verify_if_given` lets those in that have none, for `mtls` to refuse route by
	// route. `request` lets every certificate in unverified: `mtls` then accepts only
	// those that it lists by their digest. `none`, for `hosts` alone, asks for no certificate.
	// Default: require.
	Mode ClientMode `yaml:"mode"`
}

// ClientMode is how a listener asks for certificates.
type ClientMode string

// The modes.
const (
	ClientRequire       ClientMode = "require"
	ClientVerifyIfGiven ClientMode = "verify_if_given"
	ClientRequest       ClientMode = "request"
	ClientNone          ClientMode = "none"
)

// SetDefaults sets the values that the comments of the fields name.
func (c *ClientTLS) SetDefaults() { c.Mode = ClientRequire }

// Validate checks that the mode and the authorities fit.
func (c *ClientTLS) Validate() error {
	var f faults
	f.oneOf("mode", string(c.Mode), string(ClientRequire), string(ClientVerifyIfGiven), string(ClientRequest), string(ClientNone))
	switch {
	case c.Mode == ClientNone && len(c.CA) > 0:
		f.at("ca", "nobody is asked for a certificate in the mode none; leave ca out")
	case c.Mode == ClientRequest && len(c.CA) > 0:
		f.at("ca", "no certificate is verified in the mode request; to verify them, write mode: verify_if_given")
	case c.Mode != ClientRequest && c.Mode != ClientNone && len(c.CA) == 0:
		f.at("", "\"ca\" is required to verify certificates with")
	}
	for i, ca := range c.CA {
		if ca == "" {
			f.at("ca["+strconv.Itoa(i)+"]", "names no file")
		}
	}
	return f.err()
}
