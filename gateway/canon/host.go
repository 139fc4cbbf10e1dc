package canon

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway"
)

const (
	maxHost  = 253 // RFC 1035, 2.3.4, in text form
	maxLabel = 63
)

// Host takes the value of a Host header or an :authority apart. The name is
// lower case and without a trailing dot; an IPv6 address is in its shortest
// form and in brackets. Unicode must come as A-labels (RFC 5890). The port is
// "" or 1 to 65535 without leading zeros. Everything else is refused.
func Host(s string) (name, port string, err error) {
	if s == "" {
		return "", "", badHost("the request names no host")
	}
	if s[0] == '[' {
		return ipv6Host(s)
	}
	name, port, colon := strings.Cut(s, ":")
	if colon {
		if port, err = canonicalPort(port); err != nil {
			return "", "", err
		}
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxHost {
		return "", "", badHost("the host is empty or too long")
	}
	upper, label := false, 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return "", "", badHost("the host holds an empty label")
			}
			label = 0
			continue
		case 'A' <= c && c <= 'Z':
			upper = true
		case !isAlphaNum(c) && c != '-' && c != '_':
			return "", "", badHost("the host holds a character that no name has")
		}
		if label++; label > maxLabel {
			return "", "", badHost("the host holds a label of more than 63 bytes")
		}
	}
	if label == 0 {
		return "", "", badHost("the host holds an empty label")
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, port, nil
}

func ipv6Host(s string) (name, port string, err error) {
	literal, rest, ok := strings.Cut(s[1:], "]")
	if !ok {
		return "", "", badHost("the host holds a bracket that is not closed")
	}
	addr, err := netip.ParseAddr(literal)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", "", badHost("the host holds no IPv6 address in its brackets")
	}
	if rest != "" {
		if rest[0] != ':' {
			return "", "", badHost("the host goes on after its bracket")
		}
		if port, err = canonicalPort(rest[1:]); err != nil {
			return "", "", err
		}
	}
	return "[" + addr.String() + "]", port, nil
}

func canonicalPort(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '0' {
		return "", badHost("the port is not a number from 1 to 65535")
	}
	return s, nil
}

// joinHost is the canonical text of a host: the port of the scheme itself is
// left out. It returns a part of s when that says the same.
func joinHost(s, name, port, scheme string) string {
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return name
	}
	if len(s) == len(name)+1+len(port) && strings.HasPrefix(s, name) {
		return s
	}
	return name + ":" + port
}

// SplitHost takes a host apart that is canonical already, as r.Host is after
// Request. An IPv6 address keeps its brackets.
func SplitHost(canonical string) (name, port string) {
	i := strings.LastIndexByte(canonical, ':')
	if i < 0 || canonical[len(canonical)-1] == ']' {
		return canonical, ""
	}
	return canonical[:i], canonical[i+1:]
}

func badHost(msg string) error { return gateway.BadRequest("bad_host", msg) }
