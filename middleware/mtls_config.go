package middleware

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/kind"
)

// MTLSConfig lets through who has a client certificate with one of the listed names,
// verified by the listener (`tls.client`). Without lists every verified certificate
// passes. The name is then the proven subject for what comes after the block in `use`.
//
//	mtls:
//	  uris: ["spiffe://example.org/ns/*/sa/web"]
//	  dns: ["*.partners.example.com"]
//	  header: X-Forwarded-Client-Cert
//
// Without a verified certificate, without a name that is listed, or after the
// certificate has expired, the answer is a 403. Revocation is not checked.
type MTLSConfig struct {
	// DNS are names among the DNS names of the certificate (SAN). `*.` at the beginning
	// stands for one label. Default: none.
	DNS []string `yaml:"dns"`
	// URIs are URIs among those of the certificate (SAN), such as SPIFFE IDs. Scheme and
	// trust domain are literal; in the path `*` stands for one segment and `/**` at the
	// end for any further ones. A certificate with a SPIFFE ID may have no other URI.
	// Default: none.
	URIs []string `yaml:"uris"`
	// Emails are addresses among those of the certificate (SAN). `*@` at the beginning
	// stands for anybody of the domain. Default: none.
	Emails []string `yaml:"emails"`
	// CommonNames are common names of the subject, which nobody looks at otherwise:
	// authorities do not promise that they are somebody's own. Default: none.
	CommonNames []string `yaml:"common_names"`
	// SHA256 are digests of whole certificates, in hexadecimal digits with or without
	// colons: `openssl x509 -noout -fingerprint -sha256`. Such a certificate needs no authority, so this is
	// what self-signed ones are listed by, on listeners in the mode `request`. Default: none.
	SHA256 []string `yaml:"sha256"`
	// Subject is what the subject is taken from: `matched`, the name that is listed, else
	// the first URI, DNS name or address there is; or always the first `uri`, `dns` or `email`,
	// the common name `cn`, or the digest, `sha256`. A certificate without it gets a 403.
	// Default: matched.
	Subject string `yaml:"subject"`
	// Header tells the upstream about the certificate, in the form of Envoy's
	// X-Forwarded-Client-Cert: Hash, Subject, URI and DNS. Nobody else can set this header,
	// on any route. Default: none.
	Header string `yaml:"header"`
	// Optional lets requests pass without a certificate, as nobody. One that is
	// shown must still do. Default: false.
	Optional bool `yaml:"optional"`
}

var mtlsSubjects = []string{"matched", "uri", "dns", "email", "cn", "sha256"}

// Validate checks the patterns.
func (c MTLSConfig) Validate() error {
	var errs []error
	each := func(setting string, list []string, check func(string) error) {
		for i, one := range list {
			if err := check(one); err != nil {
				errs = append(errs, kind.At(fmt.Sprintf("%s[%d]", setting, i), "%w", err))
			}
		}
	}
	each("dns", c.DNS, checkDNSPattern)
	each("uris", c.URIs, checkURIPattern)
	each("emails", c.Emails, checkEmailPattern)
	each("common_names", c.CommonNames, func(name string) error {
		if name == "" || strings.Contains(name, "*") {
			return fmt.Errorf("%q is no common name; they have no wildcards", name)
		}
		return nil
	})
	each("sha256", c.SHA256, func(digest string) error { _, err := certDigest(digest); return err })
	if !slices.Contains(mtlsSubjects, c.Subject) {
		errs = append(errs, kind.At("subject", "%q is no part of a certificate; write one of %s", c.Subject, strings.Join(mtlsSubjects, ", ")))
	}
	if c.Header != "" {
		errs = append(errs, validateHeaderName("header", c.Header))
	}
	return errors.Join(errs...)
}

func checkDNSPattern(name string) error {
	rest := strings.TrimPrefix(name, "*.")
	if rest == "" || strings.ContainsAny(rest, "*/:@ ") || !strings.Contains(rest, ".") && rest != name {
		return fmt.Errorf("%q is no DNS name; a wildcard is a whole label at the beginning, as in *.example.com", name)
	}
	return nil
}

func checkURIPattern(pattern string) error {
	u, err := url.Parse(pattern)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q is no URI such as spiffe://example.org/ns/shop/sa/web", pattern)
	case strings.Contains(u.Scheme+u.Host+u.Opaque, "*"):
		return fmt.Errorf("%q has a wildcard outside of the path; trust domains are listed one by one", pattern)
	}
	segments := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	for i, s := range segments {
		if strings.Contains(s, "*") && s != "*" && (s != "**" || i < len(segments)-1) {
			return fmt.Errorf("%q has a wildcard that is no whole segment, or ** before the end", pattern)
		}
	}
	return nil
}

func checkEmailPattern(pattern string) error {
	local, domain, _ := strings.Cut(pattern, "@")
	if local == "" || domain == "" || strings.ContainsAny(domain, "@*") || strings.Contains(local, "*") && local != "*" {
		return fmt.Errorf("%q is no address such as ops@example.com or *@example.com", pattern)
	}
	return nil
}

// certDigest reads a digest, with colons or without.
func certDigest(text string) (sum [sha256.Size]byte, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(raw) != sha256.Size {
		return sum, fmt.Errorf("%q is no SHA-256 digest of 64 hexadecimal digits", text)
	}
	return [sha256.Size]byte(raw), nil
}
