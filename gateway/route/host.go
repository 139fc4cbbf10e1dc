package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// host is what a rule says of the host: a name, any name below it, or anything.
type host struct {
	name     string // "" is any host
	wildcard bool   // name is what follows "*."
}

func (h host) String() string {
	switch {
	case h.name == "":
		return "*"
	case h.wildcard:
		return "*." + h.name
	default:
		return h.name
	}
}

// class orders kinds of hosts, most specific first.
func (h host) class() int {
	switch {
	case h.name == "":
		return 2
	case h.wildcard:
		return 1
	default:
		return 0
	}
}

// matches is what the index does by look-up.
func (h host) matches(name string) bool {
	if !h.wildcard {
		return h.name == "" || h.name == name
	}
	labels, ok := strings.CutSuffix(name, "."+h.name)
	return ok && labels != "" && labels[0] != '.' && !strings.Contains(labels, "..") && labels[len(labels)-1] != '.'
}

// hostname cuts a port off the host of a request.
func hostname(hostport string) string {
	i := strings.LastIndexByte(hostport, ':')
	if i < 0 || strings.IndexByte(hostport[i:], ']') >= 0 {
		return hostport
	}
	return hostport[:i]
}

// parseHost reads the host of a rule.
func parseHost(text string) (host, error) {
	if text == "" {
		return host{}, nil
	}
	name, wildcard := strings.CutPrefix(strings.ToLower(strings.TrimSuffix(text, ".")), "*.")
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && !wildcard && addr.Is6() && addr.Zone() == "" {
		return host{name: "[" + addr.String() + "]"}, nil
	}
	switch {
	case name == "*":
		return host{}, errors.New(`"*" is no host; leave the host out to match any`)
	case strings.Contains(name, "*"):
		return host{}, fmt.Errorf("%q: a wildcard is only allowed as the whole first label", text)
	case strings.ContainsAny(name, ":/[]"):
		return host{}, fmt.Errorf("%q: a host has no scheme, port or path here", text)
	case len(name) > 253:
		return host{}, fmt.Errorf("%q is longer than a host can be", text)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return host{}, fmt.Errorf("%q has an empty label", text)
		}
		if i := strings.IndexFunc(label, notInLabel); i >= 0 {
			return host{}, fmt.Errorf("%q: a host cannot hold %q; international names are written in punycode (xn--)", text, []rune(label[i:])[0])
		}
	}
	return host{name: name, wildcard: wildcard}, nil
}

func notInLabel(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
}
