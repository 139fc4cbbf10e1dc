package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// TLSHost are settings of some hosts of a listener. What an entry leaves out is as the
// listener has it, also where the wildcard of another entry has the name too.
//
// The client's SNI decides which settings a handshake keeps to. A request for a host
// with other settings than those of its connection is answered 421, whatever certificate
// the two share, and no session is resumed under other settings than it was made under.
type TLSHost struct {
	// Names are hosts, such as `admin.example.com`, or `*.example.com` for all names below
	// it, however deep. A name comes before a wildcard, and the longer wildcard first. A
	// certificate of the listener must be for them. Required.
	Names []string `yaml:"names,required"`
	// Client asks clients for certificates, or in the mode `none` does not where the
	// listener does. Default: the listener's.
	Client *ClientTLS `yaml:"client"`
	// MinVersion is `1.2` or `1.3`. Default: the listener's.
	MinVersion string `yaml:"min_version"`
	// Protocols are those of the listener's that are spoken here: `h1`, `h2`. Default: the listener's.
	Protocols []string `yaml:"protocols"`
}

// Validate checks what an entry says of itself.
func (h *TLSHost) Validate() error {
	var f faults
	if len(h.Names) == 0 {
		f.at("names", "names no host")
	}
	for i, name := range h.Names {
		if err := checkSNI(name); err != nil {
			f.at("names["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
	if h.MinVersion != "" {
		f.oneOf("min_version", h.MinVersion, "1.2", "1.3")
	}
	for i, p := range h.Protocols {
		path := "protocols[" + strconv.Itoa(i) + "]"
		if slices.Contains(h.Protocols[:i], p) {
			f.at(path, "%s stands here a second time", p)
			continue
		}
		f.oneOf(path, p, "h1", "h2")
	}
	return f.err()
}

// checkSNI accepts what a client can name in a handshake (RFC 6066 section 3).
func checkSNI(name string) error {
	if err := checkHost(name); err != nil {
		return err
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return fmt.Errorf("%s is an address, which no client names in a handshake; the listener's own settings hold for it", name)
	}
	return nil
}

// Folded are the names in the form that they are compared in.
func (h *TLSHost) Folded() []string {
	all := make([]string, len(h.Names))
	for i, name := range h.Names {
		all[i] = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	return all
}

// validateHosts compares the entries with each other: one that another hides, or that
// says nothing, is a mistake.
func (t *TLS) validateHosts(f *faults) {
	seen := make(map[string]bool)
	for i := range t.Hosts {
		h := &t.Hosts[i]
		at := "hosts[" + strconv.Itoa(i) + "]"
		for j, name := range h.Folded() {
			if seen[name] {
				f.at(at+".names["+strconv.Itoa(j)+"]", "%s stands here a second time", name)
			}
			seen[name] = true
		}
		if h.Client == nil && h.MinVersion == "" && len(h.Protocols) == 0 && !t.underWildcard(i) {
			f.at(at, "says nothing but names; add client, min_version or protocols, or leave it out")
		}
	}
}

// underWildcard says whether a wildcard of another entry would have a name of entry i,
// which then gets the listener's own settings back.
func (t *TLS) underWildcard(i int) bool {
	for j := range t.Hosts {
		if j == i {
			continue
		}
		for _, wider := range t.Hosts[j].Folded() {
			suffix, ok := strings.CutPrefix(wider, "*")
			if ok && slices.ContainsFunc(t.Hosts[i].Folded(), func(name string) bool {
				return name != wider && strings.HasSuffix(name, suffix)
			}) {
				return true
			}
		}
	}
	return false
}

// validateHostProtocols wants the listener to speak what its hosts do.
func (l *Listener) validateHostProtocols(f *faults) {
	if l.TLS == nil || len(l.Protocols) == 0 {
		return // then it speaks all of them
	}
	for i := range l.TLS.Hosts {
		for j, p := range l.TLS.Hosts[i].Protocols {
			if (p == "h1" || p == "h2") && !slices.Contains(l.Protocols, p) {
				f.at(fmt.Sprintf("tls.hosts[%d].protocols[%d]", i, j), "%s is not among the protocols of the listener; add it there", p)
			}
		}
	}
}
