package build

import (
	"crypto/tls"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
)

// tlsHosts are the hosts of a listener that have settings of their own.
type tlsHosts struct {
	exact, wildcard map[string]*tlsSettings // by lower-case name; a wildcard without its "*."
	all             []*tlsSettings          // each of them once, the listener's own first
}

// find is nil for a name that has none. Wildcards reach as deep as those of routes: a
// host of a route must not slip from under the settings that were written for it.
func (h *tlsHosts) find(name string) *tlsSettings {
	if s := h.exact[name]; s != nil {
		return s
	}
	for _, parent, more := strings.Cut(name, "."); more; _, parent, more = strings.Cut(parent, ".") {
		if s := h.wildcard[parent]; s != nil {
			return s
		}
	}
	return nil
}

// entry is the name or wildcard that has a name; "" if none has.
func (h *tlsHosts) entry(name string) string {
	if h.exact[name] != nil {
		return name
	}
	for _, parent, more := strings.Cut(name, "."); more; _, parent, more = strings.Cut(parent, ".") {
		if h.wildcard[parent] != nil {
			return "*." + parent
		}
	}
	return ""
}

// tlsHosts makes the settings of a listener's hosts. Keys of session tickets are not those
// of the front, which all settings share, so that a session can only be resumed under the
// settings that it was made under. They outlive a reload as long as these stay.
func (c *compiler) tlsHosts(listener string, l *config.Listener, s *secureListener) {
	h := &tlsHosts{exact: make(map[string]*tlsSettings), wildcard: make(map[string]*tlsSettings), all: []*tlsSettings{s.own}}
	for i := range l.TLS.Hosts {
		host := &l.TLS.Hosts[i]
		clients, minVersion, protocols := s.own.clients, l.TLS.MinVersion, l.Protocols
		if host.Client != nil {
			clients = c.clientTLS(host.Client)
		}
		if host.MinVersion != "" {
			minVersion = host.MinVersion
		}
		if len(host.Protocols) > 0 {
			protocols = host.Protocols
		}
		made := h.once(newTLSSettings(s.pairs, clients, minVersion, protocols))
		for _, name := range host.Folded() {
			if below, ok := strings.CutPrefix(name, "*."); ok {
				h.wildcard[below] = made
			} else {
				h.exact[name] = made
			}
		}
	}
	for _, one := range h.all {
		key := "tls_tickets/" + listener + "/" + one.key()
		tickets, _ := keep.Get(c.scope, key, func() (*tls.Config, error) { return new(tls.Config), nil }) // cannot fail
		one.config.WrapSession, one.config.UnwrapSession = tickets.EncryptTicket, tickets.DecryptTicket
	}
	s.hosts = h
	s.own.config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return s.of(foldSNI(hello.ServerName)).config, nil
	}
}

// once returns settings that mean the same if there are any already.
func (h *tlsHosts) once(s *tlsSettings) *tlsSettings {
	key := s.key()
	if i := slices.IndexFunc(h.all, func(other *tlsSettings) bool { return other.key() == key }); i >= 0 {
		return h.all[i]
	}
	h.all = append(h.all, s)
	return s
}

// unknownHosts refuses names that no certificate is for: a client that asks for one
// would take what it is shown for somebody else's.
func (c *compiler) unknownHosts(t *config.TLS, pairs *certificateSet) {
	for i := range t.Hosts {
		for j, name := range t.Hosts[i].Folded() {
			if !pairs.serves(name) {
				c.fail(&t.Hosts[i].Names[j], "no certificate of this listener is for %s; add one, or take the name out", name)
			}
		}
	}
}

// serves says whether there is a certificate for a lower-case name, or for any name that
// a wildcard stands for.
func (s *certificateSet) serves(name string) bool {
	below, ok := strings.CutPrefix(name, "*")
	if !ok {
		return len(s.best(name)) > 0
	}
	for parent := range s.wildcard {
		if strings.HasSuffix("."+parent, below) {
			return true
		}
	}
	for name := range s.exact {
		if strings.HasSuffix(name, below) {
			return true
		}
	}
	return false
}
