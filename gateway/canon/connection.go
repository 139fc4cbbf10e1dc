package canon

import (
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
)

const (
	maxConnectionTokens = 16
	maxConnectionBytes  = 1 << 10
)

// connection carries out what Connection says (RFC 9110, 7.6.1) here, before
// any policy has looked, so that policy and upstream see the same headers. A
// client that wants a header gone that the gateway decides on or produces is refused
// (CVE-2024-45410, CVE-2026-29054). What is left is `Connection: Upgrade` with an
// Upgrade, or neither.
func (p *Policy) connection(r *http.Request) error {
	lines := r.Header["Connection"]
	if len(lines) == 1 && r.Header["Upgrade"] == nil {
		switch lines[0] {
		case "keep-alive", "close", "Keep-Alive", "Close": // net/http has read it already
			delete(r.Header, "Connection")
			return nil
		}
	}
	upgrades, tokens, size := false, 0, 0
	for _, line := range lines {
		if size += len(line); size > maxConnectionBytes {
			return badConnection("the Connection header is too long")
		}
	}
	for token := range grammar.Elements(lines) {
		if tokens++; tokens > maxConnectionTokens {
			return badConnection("the Connection header names too many options")
		}
		if err := p.connectionToken(r.Header, token); err != nil {
			return err
		}
		upgrades = upgrades || strings.EqualFold(token, "upgrade")
	}
	delete(r.Header, "Connection")
	wanted, err := upgradeTo(r.Header["Upgrade"])
	if err != nil {
		return err
	}
	if !upgrades || wanted == "" || r.ProtoMajor != 1 || r.ProtoMinor == 0 {
		delete(r.Header, "Upgrade")
		return nil
	}
	r.Header["Connection"] = []string{"Upgrade"}
	r.Header["Upgrade"] = []string{wanted}
	return nil
}

// connectionToken removes the header that a token names.
func (p *Policy) connectionToken(h http.Header, token string) error {
	for i := range len(token) {
		if nameBytes[token[i]]&nameBad != 0 {
			return badConnection("the Connection header holds something that is no token")
		}
	}
	if strings.EqualFold(token, "close") {
		return nil
	}
	name := http.CanonicalHeaderKey(token)
	switch traits := p.names.ofAlias(name); {
	case traits&(hop|framing) != 0:
		return nil
	case traits&known != 0:
		return badConnection("the Connection header names a header that is not the connection's")
	}
	delete(h, name)
	return nil
}

func badConnection(msg string) error { return gateway.BadRequest("bad_connection", msg) }

// upgradeTo returns the protocols of Upgrade without h2c: a tunnel of HTTP/2
// through the gateway would carry requests past all policy.
func upgradeTo(lines []string) (string, error) {
	var wanted []string
	for _, line := range lines {
		for protocol := range strings.SplitSeq(line, ",") {
			protocol = strings.Trim(protocol, " \t")
			name, version, slash := strings.Cut(protocol, "/")
			if protocol == "" || strings.EqualFold(name, "h2c") {
				continue
			}
			if !grammar.IsToken(name) || slash && !grammar.IsToken(version) {
				return "", gateway.BadRequest("bad_upgrade", "the Upgrade header names no protocol")
			}
			wanted = append(wanted, protocol)
		}
	}
	return strings.Join(wanted, ", "), nil
}

// expectation refuses every Expect but the one that exists. net/http also takes
// `y 100-continue` for it.
func expectation(r *http.Request) error {
	if !r.ProtoAtLeast(1, 1) {
		delete(r.Header, "Expect") // RFC 9110, 10.1.1
		return nil
	}
	if values := r.Header["Expect"]; len(values) == 1 && strings.EqualFold(values[0], "100-continue") {
		return nil
	}
	e := gateway.BadRequest("expectation", "the expectation cannot be met")
	e.Status = http.StatusExpectationFailed
	return e
}

// acceptedTrailers leaves of TE the one thing that concerns an upstream; it is
// how gRPC recognises a path that carries trailers.
func acceptedTrailers(h http.Header) {
	lines := h["Te"]
	switch {
	case len(lines) == 1 && lines[0] == "trailers":
	case grammar.HasToken(lines, "trailers"):
		h["Te"] = []string{"trailers"}
	default:
		delete(h, "Te")
	}
}
