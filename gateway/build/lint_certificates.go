package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/config"
)

// lintCertificates finds steps that look at client certificates for hosts whose clients
// no listener asks for one.
func (s *Snapshot) lintCertificates(r *config.Route, add func(string, *config.Error)) {
	for _, b := range r.Use {
		if s.kindOf(b) != "mtls" {
			continue
		}
		if host, ok := s.unasked(r); ok {
			why := fmt.Errorf("%s is for clients with certificates, and no listener asks clients of %s for one; add tls.client, or the host to tls.hosts", b.Kind, host)
			add(LintUnasked, b.Errors(why)[0])
		}
	}
}

// kindOf is the kind of a block of `use`, which may be the name of another.
func (s *Snapshot) kindOf(b *config.Block) string {
	if named, ok := s.Config.Middleware[b.Kind]; ok && b.Ref {
		b = named
	}
	return b.Kind
}

// unasked is the first host of a route that no listener asks for certificates.
func (s *Snapshot) unasked(r *config.Route) (host string, found bool) {
	for i := range r.Match {
		m := &r.Match[i]
		hosts := slices.Clone(m.Hosts)
		if m.Host != "" || len(hosts) == 0 {
			hosts = append(hosts, m.Host)
		}
		for _, host := range hosts {
			if !s.asks(foldSNI(host), m.Listeners) {
				if host == "" {
					host = "any host"
				}
				return host, true
			}
		}
	}
	return "", false
}

// asks says whether one of the listeners, or of all if none are named, asks clients of a
// host for certificates; of a wildcard or of any host, clients of some.
func (s *Snapshot) asks(host string, listeners []string) bool {
	for name, l := range s.tls {
		if len(listeners) > 0 && !slices.Contains(listeners, name) {
			continue
		}
		some := host == "" || strings.HasPrefix(host, "*.")
		if !some && l.of(host).clients != nil {
			return true
		}
		if some && slices.ContainsFunc(l.all(), func(t *tlsSettings) bool { return t.clients != nil }) {
			return true
		}
	}
	return false
}
