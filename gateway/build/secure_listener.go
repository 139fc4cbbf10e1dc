package build

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// secureListener is what a TLS listener proves itself with, and what it wants of
// clients.
type secureListener struct {
	pairs  *certificateSet
	own    *tlsSettings      // of clients without SNI, and of every host that hosts does not have
	hosts  *tlsHosts         // nil when all hosts have the same
	others []*secureListener // that want something else of clients, of some hosts at least
}

// of are the settings of a lower-case name.
func (l *secureListener) of(name string) *tlsSettings {
	if l.hosts != nil {
		if s := l.hosts.find(name); s != nil {
			return s
		}
	}
	return l.own
}

// all are the different settings of the listener.
func (l *secureListener) all() []*tlsSettings {
	if l.hosts == nil {
		return []*tlsSettings{l.own}
	}
	return l.hosts.all
}

// differs says whether the two want different things of clients anywhere.
func (l *secureListener) differs(other *secureListener) bool {
	return slices.ContainsFunc(l.all(), func(a *tlsSettings) bool {
		return slices.ContainsFunc(other.all(), func(b *tlsSettings) bool { return !a.clients.equal(b.clients) })
	})
}

// errOutdated ends a connection too, because no request can be served on it any more.
var errOutdated = &gateway.Error{
	Status: http.StatusMisdirectedRequest, Reason: "outdated_connection", Cause: gateway.CauseClient,
	Msg: "what this connection was opened with is not accepted any more", Close: true,
}

// refusal is the answer to a request that belongs on another connection, nil for any other.
func (l *secureListener) refusal(r *http.Request, dry bool) error {
	s, sni := l.own, r.TLS.ServerName
	if l.hosts != nil {
		sni = foldSNI(sni)
		s = l.of(sni)
	}
	switch {
	case l.misdirected(s, sni, r.Host):
		return errMisdirected
	case !dry && s.outdated(r.TLS):
		return errOutdated
	}
	return nil
}

// foldSNI is a name from a handshake in the form of canonical hosts.
func foldSNI(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// misdirected says whether a request for a canonical host belongs on another connection
// than one that was opened under s, in the name of sni: where the host has other settings
// (CVE-2026-48491) or another certificate, or where another listener has the host and
// wants something else of clients.
func (l *secureListener) misdirected(s *tlsSettings, sni, host string) bool {
	if l.pairs.misdirected(sni, host) {
		return true
	}
	if l.hosts == nil && len(l.others) == 0 {
		return false
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if host != sni && l.of(host) != s {
		return true
	}
	return len(l.others) > 0 && len(l.pairs.best(host)) == 0 && slices.ContainsFunc(l.others, func(other *secureListener) bool {
		return len(other.pairs.best(host)) > 0 && !other.of(host).clients.equal(s.clients)
	})
}

// tlsSettings are what the handshakes for some hosts of a listener keep to. Settings of
// one listener that are the same are one.
type tlsSettings struct {
	config  *tls.Config
	clients *clientCheck // nil when clients are not asked for certificates
}

func newTLSSettings(pairs *certificateSet, clients *clientCheck, minVersion string, protocols []string) *tlsSettings {
	s := &tlsSettings{config: newTLSConfig(pairs, minVersion, protocols), clients: clients}
	if clients != nil {
		clients.enter(s.config)
	}
	return s
}

// key is the same for settings that mean the same.
func (s *tlsSettings) key() string {
	key := tls.VersionName(s.config.MinVersion) + " " + strings.Join(s.config.NextProtos, ",")
	if s.clients != nil {
		key += " " + string(s.clients.mode) + " " + s.clients.prints
	}
	return key
}

// explain tells which settings hold for a lower-case name.
func (l *secureListener) explain(name string) string {
	from, s, clients := "of the listener", l.of(name), "no client certificates"
	if l.hosts != nil {
		if entry := l.hosts.entry(name); entry != "" {
			from = "of " + entry
		}
	}
	if s.clients != nil {
		clients = "client certificates by " + string(s.clients.mode)
	}
	return fmt.Sprintf("%s: %s at least, %s, %s", from, tls.VersionName(s.config.MinVersion), strings.Join(s.config.NextProtos, " and "), clients)
}

// outdated says whether a connection from before a reload would not come about now.
func (s *tlsSettings) outdated(state *tls.ConnectionState) bool {
	return state.Version < s.config.MinVersion || !s.clients.current(state)
}
