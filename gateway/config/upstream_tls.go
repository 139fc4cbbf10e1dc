package config

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// UpstreamTLS says how endpoints prove themselves. One that does not gets no
// request, and the answer is 502; there is no setting to go on without proof.
type UpstreamTLS struct {
	// CA is a PEM file with the certificate authorities. Default: the system's.
	CA string `yaml:"ca"`
	// ServerName is the name the certificate must have, and the SNI. Default: the
	// endpoint's host; an endpoint without a name must have its address in the certificate.
	ServerName string `yaml:"server_name"`
	// SANs are names of which the certificate must have one: DNS names, addresses,
	// or URIs such as `spiffe://example.org/orders`. With them `server_name` is
	// the SNI only. Default: the server name.
	SANs []string `yaml:"sans"`
	// Pins are keys of which the chain must have one, beside all else that it must
	// be: `sha256/` and the SHA-256 of the public key in base64 (RFC 7469). Default: none.
	Pins []string `yaml:"pins"`
	// MinVersion is `1.2` or `1.3`. Default: 1.2.
	MinVersion string `yaml:"min_version"`
	// Certificate is what the gateway shows to the endpoint.
	Certificate *Certificate `yaml:"certificate"`
}

// SetDefaults sets the values that the comments of the fields name.
func (t *UpstreamTLS) SetDefaults() { t.MinVersion = "1.2" }

// Validate checks what can be without reading a file.
func (t *UpstreamTLS) Validate() error {
	var f faults
	f.oneOf("min_version", t.MinVersion, "1.2", "1.3")
	if t.ServerName != "" {
		if err := checkName(t.ServerName); err != nil {
			f.at("server_name", "%w", err)
		}
	}
	for i, name := range t.SANs {
		if err := checkSAN(name); err != nil {
			f.at("sans["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
	for i, pin := range t.Pins {
		if _, err := ParsePin(pin); err != nil {
			f.at("pins["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
	return f.err()
}

func checkSAN(name string) error {
	if !strings.Contains(name, "://") {
		return checkName(name)
	}
	if u, err := url.Parse(name); err != nil || u.Host == "" || u.String() != name {
		return fmt.Errorf("%q is no URI such as spiffe://example.org/orders", name)
	}
	return nil
}

// checkName accepts a DNS name or an address, which is what crypto/tls compares.
func checkName(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	if strings.ContainsAny(name, "*:/ ") || name == "" || strings.Trim(name, ".") != name {
		return fmt.Errorf("%q is no host name or address; write it without port and wildcard", name)
	}
	return nil
}

// ParsePin reads `sha256/` and a hash in base64.
func ParsePin(text string) (pin [sha256.Size]byte, err error) {
	encoded, ok := strings.CutPrefix(text, "sha256/")
	hash, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(hash) != len(pin) {
		return pin, fmt.Errorf("%q is no pin; write sha256/ and the 44 characters of the hash in base64", text)
	}
	return [sha256.Size]byte(hash), nil
}
