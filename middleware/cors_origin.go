package middleware

import (
	"fmt"
	"strings"

	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/grammar"
)

// origins is a set of origins, in the form in which browsers send them: in lower
// case, and without the port that is the scheme's own (RFC 6454, section 6.2).
type origins struct {
	all      bool
	exact    map[string]bool
	patterns []originPattern
}

// originPattern is an origin whose host begins with anything.
type originPattern struct {
	scheme string // "https://"
	end    string // ".example.com", ".example.com:8443", ":8443" or ""
}

// newOrigins makes the set of origins that have been checked.
func newOrigins(list []string) origins {
	set := origins{exact: make(map[string]bool)}
	for _, origin := range list {
		if origin == anything {
			set.all = true
			continue
		}
		o, err := parseOrigin(origin)
		switch {
		case err != nil: // Validate has refused it
		case o.wild:
			set.patterns = append(set.patterns, originPattern{o.scheme, o.rest})
		default:
			set.exact[o.scheme+o.rest] = true
		}
	}
	return set
}

// match says whether origin, as a browser sent it, is in the set. It compares the
// whole of it: https://example.com.evil.org ends and begins otherwise.
func (s *origins) match(origin string) bool {
	if s.exact[origin] {
		return true
	}
	for _, p := range s.patterns {
		rest, ok := strings.CutPrefix(origin, p.scheme)
		if !ok {
			continue
		}
		if start, ok := strings.CutSuffix(rest, p.end); ok && isHostStart(start) {
			return true
		}
	}
	return false
}

// isHostStart says whether s may stand for the * of a pattern. It holds no port,
// and nothing that another reader could take for the end of the host.
func isHostStart(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return s != "" && s[0] != '.' && s[len(s)-1] != '.'
}

// parsedOrigin is an origin of the configuration.
type parsedOrigin struct {
	scheme string // with "://"; "" for null
	rest   string // host and port; what follows the * if there is one
	wild   bool
}

// nullOrigin is what browsers send for documents that have no origin to tell.
const nullOrigin = "null"

func parseOrigin(s string) (parsedOrigin, error) {
	if s == nullOrigin {
		return parsedOrigin{rest: s}, nil
	}
	scheme, host, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || !grammar.IsToken(scheme) {
		return parsedOrigin{}, fmt.Errorf("%q is no origin; write for example https://shop.example.com", s)
	}
	o := parsedOrigin{scheme: strings.ToLower(scheme) + "://"}
	if host, ok = strings.CutPrefix(host, anything); ok {
		o.wild = true
		if host == "" {
			return o, nil
		}
		if host[0] == ':' { // the port of any host
			port, err := originHost(s, o.scheme, "any.example"+host)
			o.rest = strings.TrimPrefix(port, "any.example")
			return o, err
		}
		if host, ok = strings.CutPrefix(host, "."); !ok {
			return parsedOrigin{}, fmt.Errorf("in %q the * stands for part of a label; it stands for whole ones, as in https://*.example.com", s)
		}
	}
	rest, err := originHost(s, o.scheme, host)
	if err != nil {
		return parsedOrigin{}, err
	}
	if o.rest = rest; o.wild {
		o.rest = "." + rest
	}
	return o, nil
}

// originHost is the host and port of origin as browsers write them.
func originHost(origin, scheme, s string) (string, error) {
	host, port, err := canon.Host(s)
	if err != nil {
		return "", fmt.Errorf("%q is no origin: it has a host, perhaps a port, no path and no slash at its end, and a * only at the front of its host", origin)
	}
	if port == "" || port == defaultPort(strings.TrimSuffix(scheme, "://")) {
		return host, nil
	}
	return host + ":" + port, nil
}
