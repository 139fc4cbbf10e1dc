package middleware

import (
	"math/rand/v2"
	"net/http"
	"net/netip"
	"regexp"
	"slices"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "canary", CanaryConfig{Header: "x-canary", Stable: "stable"}, newCanary)
}

// Values of the header that mean an arm whatever its name is.
const (
	wordAlways = "always"
	wordNever  = "never"
)

// What decided an arm, for Exchange.ArmBy.
const (
	byHeader   = "header"
	byCookie   = "cookie"
	bySplit    = "split"
	byRandom   = "random"
	byDefault  = "default"
	byFallback = "fallback"
)

// canary is the running middleware. It never changes after newCanary.
type canary struct {
	header         string // canonical; "" reads none
	value          string
	pattern        *regexp.Regexp
	forward        bool
	allowFrom      []netip.Prefix // nil: everybody
	cookie         pinCookie
	sticky         StickyKey
	split          *split // nil: everything to stable
	arms           []*canaryArm
	stable, canary *canaryArm
	fallback       *canaryArm // nil: none
	responseHeader string     // canonical; "" sets none
}

type canaryArm struct {
	name    string
	cluster gateway.Cluster
	subset  string
	weight  int
	label   []string // the value of the response header, which all answers share
}

func (a *canaryArm) healthy() bool { return a.cluster.Healthy(a.subset) > 0 }

func newCanary(c CanaryConfig, env Env) (gateway.Step, error) {
	arms, err := resolveArms(c, env)
	if err != nil {
		return gateway.Step{}, err
	}
	m := &canary{
		header: http.CanonicalHeaderKey(c.Header), value: c.HeaderValue, forward: c.Forward, allowFrom: c.AllowFrom,
		sticky: c.Sticky, arms: arms, responseHeader: http.CanonicalHeaderKey(c.ResponseHeader),
	}
	if c.HeaderPattern != "" {
		m.pattern = regexp.MustCompile(c.HeaderPattern) // Validate has compiled it
	}
	always, err := canaryName(c)
	if err != nil {
		return gateway.Step{}, err
	}
	m.stable, m.canary, m.fallback = m.named(c.Stable), m.named(always), m.named(c.Fallback)
	if c.Fallback == "" {
		m.fallback = m.stable
	}
	salt := c.Salt
	if salt == "" {
		salt = env.To.Name()
	}
	if len(c.Split) > 0 {
		drawn := slices.DeleteFunc(slices.Clone(arms), func(a *canaryArm) bool { _, ok := c.Split[a.name]; return !ok })
		m.split = newSplit(drawn, m.stable, salt)
		m.cookie = newPinCookie(c.Cookie, c.CookieSecret, salt, drawn)
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain}
	if c.Sticky.From == stickySubject {
		step.Needs = []gateway.Identity{gateway.Subject}
	}
	return step, nil
}

func (m *canary) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		arm, _ := m.apply(r, x)
		// Whoever may not force an arm here must not force one further on.
		if passes := m.forward && m.mayForce(x.Client); !passes && len(r.Header[m.header]) > 0 {
			x.DropUpstreamHeader(m.header)
		}
		switch x.ArmBy {
		case byHeader:
			// A cache that knows nothing of the header would give this answer to
			// those who did not ask for it.
			w.Header().Add("Vary", m.header)
		case bySplit, byRandom:
			m.cookie.set(w.Header(), arm, x.Scheme)
		}
		if m.responseHeader != "" {
			w = newArmWriter(w, m.responseHeader, arm.label)
		}
		next.ServeHTTP(w, r)
	})
}

// apply decides the arm and enters it in x. first is what was decided before
// the fallback took over.
func (m *canary) apply(r *http.Request, x *gateway.Exchange) (arm *canaryArm, first choice) {
	first = m.decide(r, x)
	arm, x.ArmBy = first.arm, first.by
	if m.fallback != nil && m.fallback != arm && !arm.healthy() && m.fallback.healthy() {
		arm, x.ArmBy = m.fallback, byFallback
	}
	x.Arm, x.Subset, x.Cluster, x.Upstream = arm.name, arm.subset, arm.cluster, arm.cluster.Name()
	return arm, first
}

// choice is an arm and what decided it.
type choice struct {
	arm *canaryArm
	by  string
}

func (m *canary) decide(r *http.Request, x *gateway.Exchange) choice {
	if values := r.Header[m.header]; len(values) == 1 && m.mayForce(x.Client) {
		if arm := m.asked(values[0]); arm != nil {
			return choice{arm, byHeader}
		}
	}
	if arm := m.cookie.read(r.Header); arm != nil {
		return choice{arm, byCookie}
	}
	if m.split == nil {
		return choice{m.stable, byDefault}
	}
	if arm := m.sticky.draw(m.split, r, x); arm != nil {
		return choice{arm, bySplit}
	}
	return choice{m.split.draw(rand.Uint64()), byRandom}
}

func (m *canary) mayForce(client netip.Addr) bool {
	return m.allowFrom == nil || slices.ContainsFunc(m.allowFrom, func(p netip.Prefix) bool { return p.Contains(client) })
}

// asked is the arm that a value of the header asks for, or nil.
func (m *canary) asked(value string) *canaryArm {
	switch {
	case m.value != "" && value == m.value, m.pattern != nil && m.pattern.MatchString(value):
		return m.canary
	case m.value != "", m.pattern != nil:
		return nil
	case value == wordAlways:
		return m.canary
	case value == wordNever:
		return m.stable
	}
	return m.named(value)
}

func (m *canary) named(name string) *canaryArm {
	for _, arm := range m.arms {
		if arm.name == name {
			return arm
		}
	}
	return nil
}

// armWriter says the arm in the head of an answer, whatever the upstream says
// there and whoever writes it.
type armWriter struct {
	http.ResponseWriter
	name  string
	label []string
}

func newArmWriter(w http.ResponseWriter, name string, label []string) *armWriter {
	w.Header()[name] = label // for an upgrade, whose head does not come through WriteHeader
	return &armWriter{w, name, label}
}

// Unwrap is for http.ResponseController.
func (w *armWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *armWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.Header()[w.name] = w.label
	}
	w.ResponseWriter.WriteHeader(status)
}
