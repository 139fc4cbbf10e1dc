package server

import (
	"crypto/tls"
	"path/filepath"
	"sync"
	"testing"
)

// purse offers the last session to whoever is asked, unlike clients that mean well.
type purse struct {
	mu   sync.Mutex
	last *tls.ClientSessionState
}

func (p *purse) Get(string) (*tls.ClientSessionState, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.last != nil
}

func (p *purse) Put(_ string, s *tls.ClientSessionState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s != nil {
		p.last = s
	}
}

// resumes says whether a session of one host is resumed at another.
func (b *byHost) resumes(version uint16, first, then string, cert *tls.Certificate) (resumed bool, status int) {
	b.t.Helper()
	sessions := new(purse)
	visit := func(host string) (int, *tls.ConnectionState) {
		g := b.guest("HTTP/1.1", host, cert, false)
		g.conf.MaxVersion, g.conf.ClientSessionCache = version, sessions
		return b.get(g, host)
	}
	if status, _ := visit(first); status != 200 {
		b.t.Errorf("%s: %d", first, status)
	}
	status, state := visit(then)
	return state != nil && state.DidResume, status
}

// TestTLSHostsSessions are resumed under the settings that they were made under, and
// nowhere else (CVE-2025-23419, CVE-2025-68121).
func TestTLSHostsSessions(t *testing.T) {
	b := newByHost(t)
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			f := func(first, then string, cert *tls.Certificate, want bool, wantStatus int) {
				t.Helper()
				if resumed, status := b.resumes(version, first, then, cert); resumed != want || status != wantStatus {
					t.Errorf("from %s to %s: resumed %t, status %d", first, then, resumed, status)
				}
			}
			f("www.example", "www.example", nil, true, 200)
			f("www.example", "nobody.example", nil, true, 200)
			f("old.example", "old.example", nil, true, 200)
			f("www.example", "old.example", nil, false, 200)
			f("old.example", "www.example", nil, false, 200)
			f("www.example", "admin.example", nil, false, 0)
			f("www.example", "admin.example", &b.admin, false, 200)
			f("admin.example", "admin.example", &b.admin, false, 200)
			f("admin.example", "www.example", &b.admin, false, 200)
			f("admin.example", "x.in.example", &b.admin, false, 0)
			if version == tls.VersionTLS13 {
				f("new.example", "new.example", nil, true, 200)
				f("www.example", "new.example", nil, false, 200)
				f("new.example", "www.example", nil, false, 200)
			} else {
				f("www.example", "new.example", nil, false, 0)
			}
		})
	}
}

// TestTLSHostsSessionsOverReloads: a session outlives a reload as long as its settings
// stay, and is not resumed where they have changed, or from before there were any by host.
func TestTLSHostsSessionsOverReloads(t *testing.T) {
	b := newByHost(t)
	visit := func(g *guest, host string) (resumed bool, status int) {
		t.Helper()
		status, state := b.get(g, host)
		return state != nil && state.DidResume, status
	}
	holder := func(host string) *guest {
		g := b.guest("HTTP/1.1", host, nil, false)
		g.conf.ClientSessionCache = new(purse)
		visit(g, host)
		return g
	}
	www, old, fresh := holder("www.example"), holder("old.example"), holder("new.example")
	b.change("names: [old.example], protocols: [h1]", "names: [old.example], client: {ca: DIR/ca.pem}")
	if resumed, status := visit(www, "www.example"); !resumed || status != 200 {
		t.Errorf("settings that stay: resumed %t, status %d", resumed, status)
	}
	if resumed, status := visit(old, "old.example"); resumed || status != 0 {
		t.Errorf("settings that changed: resumed %t, status %d", resumed, status)
	}
	b.change("names: [old.example], client: {ca: DIR/ca.pem}", "names: [old.example], protocols: [h1]")
	b.change("      hosts:"+hostSettings, "")
	if resumed, status := visit(fresh, "new.example"); resumed || status != 200 {
		t.Errorf("no settings by host any more: resumed %t, status %d", resumed, status)
	}
	all := holder("admin.example")
	if resumed, _ := visit(all, "admin.example"); !resumed {
		t.Error("sessions of a listener with the same settings for all are resumed")
	}
	b.change("key: DIR/key.pem}]\n", "key: DIR/key.pem}]\n      hosts:"+hostSettings)
	if resumed, status := visit(all, "admin.example"); resumed || status != 0 {
		t.Errorf("a session from before there were settings by host: resumed %t, status %d", resumed, status)
	}
}

// TestFault43TLSHosts: when the authority of one host changes on disk, its connections
// serve nobody any more, and those of other hosts go on.
func TestFault43TLSHosts(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			b := newByHost(t)
			www, admin := b.guest(protocol, "www.example", nil, true), b.guest(protocol, "admin.example", &b.admin, true)
			f := func(name string, g *guest, host string, want int, reused bool) {
				t.Helper()
				if status, _ := b.get(g, host); status != want || status != 0 && g.reused != reused {
					t.Errorf("%s: %d, on a connection from before %t", name, status, g.reused)
				}
			}
			f("www", www, "www.example", 200, false)
			f("admin", admin, "admin.example", 200, false)
			changed := clientAuthority(t, filepath.Join(b.dir, "ca.pem"))
			b.log.wait(t, "generation=2 ", 1) // nobody asks for the reload
			f("www on its connection", www, "www.example", 200, true)
			f("admin on its connection", admin, "admin.example", 421, true)
			f("admin with the old certificate", admin, "admin.example", 0, false)
			f("admin with the new certificate", b.guest(protocol, "admin.example", &changed, true), "admin.example", 200, false)
		})
	}
}

// TestTLSHostsTightened: a reload that asks for more holds for open connections too.
func TestTLSHostsTightened(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			b := newByHost(t)
			open := func(host string, cert *tls.Certificate, version uint16) *guest {
				t.Helper()
				g := b.guest(protocol, host, cert, true)
				g.conf.MaxVersion = version
				if status, _ := b.get(g, host); status != 200 {
					t.Fatalf("%s: %d", host, status)
				}
				return g
			}
			wild, www, in := open("www.example", nil, tls.VersionTLS12), open("nobody.example", nil, tls.VersionTLS13), open("x.in.example", &b.in, 0)
			b.change("names: [new.example]", "names: [new.example, www.example]")
			b.change(`names: ["*.in.example"], client: {ca: DIR/in.pem}`, `names: ["*.in.example"], client: {mode: none}`)
			f := func(name string, g *guest, host string, want int, reused bool) {
				t.Helper()
				if status, _ := b.get(g, host); status != want || status != 0 && g.reused != reused {
					t.Errorf("%s: %d, on a connection from before %t", name, status, g.reused)
				}
			}
			f("a version that is too old now", wild, "www.example", 421, true)
			f("and a new connection", wild, "www.example", 0, false)
			f("the same host over another connection", www, "www.example", 421, true)
			f("another host on it", www, "nobody.example", 200, true)
			f("a certificate that nobody asks for any more", in, "x.in.example", 421, true)
			f("and a new connection", in, "x.in.example", 200, false)
		})
	}
}
