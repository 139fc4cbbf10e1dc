package build

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/balance"
	"github.com/pithead/pithead/gateway/config"
)

// The rules of Lint.
const (
	LintNoAuth       = "no_auth"           // nothing asks who is calling
	LintOptionalAuth = "optional_auth"     // something asks, but lets nobody pass too
	LintUnreached    = "unreached"         // a step after one that answers every request
	LintOwnedMatch   = "stripped_header"   // a match that never holds
	LintNoSubject    = "subject_unproven"  // a key that is always empty
	LintUnasked      = "mtls_unasked"      // a proof that no client is asked for
	LintClear        = "clear_credentials" // proofs of who is calling come in the clear
)

// Finding is what a configuration does that works, and that its operator may not mean.
type Finding struct {
	Rule string
	*config.Error
}

// Auth are the names of the steps of a route that ask who is calling, or whether he may
// pass. What stands after a step that answers by itself is none of them.
func (s *Snapshot) Auth(r *config.Route) []string {
	return authOf(s.routes[slices.Index(s.Config.Routes, r)].reached())
}

// reached are the steps that requests can get to.
func (r *compiledRoute) reached() []namedStep {
	if i := slices.IndexFunc(r.steps, func(s namedStep) bool { return s.Answers }); i >= 0 {
		return r.steps[:i+1]
	}
	return r.steps
}

func authOf(steps []namedStep) (names []string) {
	for _, s := range steps {
		switch {
		case s.guards():
			names = append(names, s.name)
		case len(s.Proves) > 0:
			names = append(names, s.name+" (optional)")
		}
	}
	return names
}

// guards says that nobody gets past the step without a proof that he may.
func (s namedStep) guards() bool { return s.Vouched || len(s.Proves) > 0 && !s.Optional }

// public refuses a route that says of itself that anybody may use it, when nobody can
// without a proof.
func (c *compiler) public(r *config.Route, steps []namedStep) {
	for _, s := range steps {
		if s.guards() {
			c.fail(&r.Public, "the route is public, but %s lets nobody pass without a proof; take out one of them", s.name)
		}
	}
}

// Lint finds what works and should be looked at: routes that nobody has to prove
// anything for above all. The order is that of the files.
func (s *Snapshot) Lint() []Finding {
	var all []Finding
	add := func(rule string, e *config.Error) { all = append(all, Finding{rule, e}) }
	asked := false
	var owned []string
	for _, rt := range s.routes {
		for _, step := range rt.steps {
			owned = append(owned, step.Owns...)
		}
	}
	for i, r := range s.Config.Routes {
		rt := s.routes[i]
		asked = asked || len(authOf(rt.reached())) > 0
		s.lintAuth(r, rt, add)
		s.lintMatch(r, owned, add)
		s.lintCertificates(r, add)
	}
	if asked {
		s.lintListeners(add)
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all
}

func (s *Snapshot) lintAuth(r *config.Route, rt *compiledRoute, add func(string, *config.Error)) {
	reached := rt.reached()
	auth := authOf(reached)
	for i := range len(rt.steps) - len(reached) {
		step := rt.steps[len(reached)+i]
		why := fmt.Errorf("%s is never reached: %s before it answers every request", step.name, reached[len(reached)-1].name)
		add(LintUnreached, r.Use[len(reached)+i].Errors(why)[0])
	}
	switch {
	case r.Public:
	case len(auth) == 0:
		add(LintNoAuth, s.Config.Errorf(r, "route %s has no authentication; put what proves the caller into `use`, or write public: true", r.Name))
	case !slices.ContainsFunc(reached, namedStep.guards) && !s.decides(r, len(reached)):
		add(LintOptionalAuth, s.Config.Errorf(r, "route %s also lets requests without a proof pass: %s; take out optional, add authorize, or write public: true",
			r.Name, strings.Join(auth, ", ")))
	}
	if r.To != "" && len(auth) == 0 && s.hashesSubject(r.To) {
		add(LintNoSubject, s.Config.Errorf(&r.To, "upstream %q balances by the subject of the caller, which nothing in `use` proves", r.To))
	}
}

// decides says whether rules over the identity come among the first steps: they are
// what makes optional proofs useful.
func (s *Snapshot) decides(r *config.Route, steps int) bool {
	return slices.ContainsFunc(r.Use[:steps], func(b *config.Block) bool {
		return s.kindOf(b) == "authorize"
	})
}

// hashesSubject says whether an upstream chooses the endpoint by who is calling.
func (s *Snapshot) hashesSubject(name string) bool {
	b := s.Config.Upstreams[name].Balance
	if b == nil {
		return false
	}
	k, ok := balance.Kinds.Get(b.Kind)
	if !ok {
		return false
	}
	settings, err := k.Decode(b.Decode)
	c, isHash := settings.Value.(balance.ConsistentHashConfig)
	return err == nil && isHash && c.Key.From == "subject"
}

// lintMatch finds matches by headers that are taken out of every request: they belong
// to a middleware, and nobody is believed who sends them.
func (s *Snapshot) lintMatch(r *config.Route, owned []string, add func(string, *config.Error)) {
	for i := range r.Match {
		m := &r.Match[i]
		for name, value := range m.Headers {
			if slices.Contains(owned, http.CanonicalHeaderKey(name)) && !value.Absent {
				add(LintOwnedMatch, s.Config.Errorf(&m.Headers, "%s is taken out of every request before routes are matched, because a middleware sets it; "+
					"decide by it with authorize", http.CanonicalHeaderKey(name)))
			}
		}
	}
}

// lintListeners finds doors where proofs come in the clear over a network, unless
// somebody trusted stands before them.
func (s *Snapshot) lintListeners(add func(string, *config.Error)) {
	if len(s.Config.TrustedProxies) > 0 {
		return
	}
	for name, l := range s.Config.Listeners {
		if l.TLS != nil || l.ProxyProtocol != nil || !slices.ContainsFunc(l.Listen(), overNetwork) {
			continue
		}
		add(LintClear, s.Config.Errorf(l, "listener %s has no TLS: tokens and passwords come in the clear; add tls, or name the proxy before it in trusted_proxies", name))
	}
}

// overNetwork says whether others than this machine can connect to an address.
func overNetwork(addr string) bool {
	if strings.HasPrefix(addr, "unix:") || strings.HasPrefix(addr, "localhost:") {
		return false
	}
	ap, err := netip.ParseAddrPort(addr)
	return err != nil || !ap.Addr().IsLoopback()
}
