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
	forceCookie    string         // "" reads none
	cookie         pinCookie
	cookieFirst    bool
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
	label   []string     // the value of the response header, which all answers share
	refuge  *gateway.Arm // where a retry may go instead; nil is nowhere

	request, response *headerEdits // nil changes nothing
}

// headers makes the edits that c tells, which may be nil.
func (a *canaryArm) headers(c *HeadersConfig) {
	if c == nil {
		return
	}
	if !c.Request.empty() {
		a.request = newHeaderEdits(c.Request)
	}
	if !c.Response.empty() {
		a.response = newHeaderEdits(c.Response)
	}
}

func (a *canaryArm) healthy() bool { return a.cluster.Healthy(a.subset) > 0 }

func newCanary(c CanaryConfig, env Env) (gateway.Step, error) {
	arms, err := resolveArms(c, env)
	if err != nil {
		return gateway.Step{}, err
	}
	m := &canary{
		header: http.CanonicalHeaderKey(c.Header), value: c.HeaderValue, forward: c.Forward, allowFrom: c.AllowFrom,
		forceCookie: c.ForceCookie, cookieFirst: c.CookieFirst, sticky: c.Sticky, arms: arms, responseHeader: http.CanonicalHeaderKey(c.ResponseHeader),
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
	m.offerRefuge()
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
		arm, first := m.apply(r, x)
		// Whoever may not force an arm here must not force one further on.
		if passes := m.forward && m.mayForce(x.Client); !passes && len(r.Header[m.header]) > 0 {
			x.DropUpstreamHeader(m.header)
		}
		if arm == nil {
			gateway.Fail(w, r, errNoArm)
			return
		}
		if first.vary != "" && x.ArmBy != byFallback {
			// A cache that knows nothing of the header would give this answer to
			// those who did not ask for it.
			w.Header().Add("Vary", first.vary)
		}
		if x.ArmBy == bySplit || x.ArmBy == byRandom || m.cookieFirst && first.vary != "" && x.ArmBy != byFallback {
			m.cookie.set(w.Header(), arm, x.Scheme)
		}
		if m.responseHeader != "" {
			w = newArmWriter(w, m, x, arm)
		}
		if arm.request != nil {
			arm.request.upstream(x)
		}
		if arm.response != nil {
			arm.response.serve(next, w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// errNoArm is what a split gives whose weights are all 0, as the Gateway API wants it.
var errNoArm = &gateway.Error{Status: http.StatusInternalServerError, Reason: "no_arm", Msg: "no arm takes this request", Cause: gateway.CauseGateway}

// apply decides the arm and enters it in x. first is what was decided before
// the fallback took over. There is no arm when all weights are 0.
func (m *canary) apply(r *http.Request, x *gateway.Exchange) (arm *canaryArm, first choice) {
	first = m.decide(r, x)
	if first.arm == nil {
		goesNowhere(x)
		return nil, first
	}
	arm, x.ArmBy = first.arm, first.by
	if m.fallback != nil && m.fallback != arm && !arm.healthy() && m.fallback.healthy() {
		arm, x.ArmBy = m.fallback, byFallback
	}
	if x.Refuge = arm.refuge; first.vary != "" {
		x.Refuge = nil // who asks for an arm wants to see how it does
	}
	x.Arm, x.Subset, x.Cluster, x.Upstream = arm.name, arm.subset, arm.cluster, arm.cluster.Name()
	return arm, first
}

// offerRefuge lets retries go from each arm to the stable one. An arm that has
// headers of its own is not left: by then its requests bear them.
func (m *canary) offerRefuge() {
	if m.stable == nil || m.stable.request != nil || m.stable.response != nil {
		return
	}
	refuge := &gateway.Arm{Name: m.stable.name, Cluster: m.stable.cluster, Subset: m.stable.subset}
	for _, arm := range m.arms {
		if arm != m.stable && arm.request == nil && arm.response == nil {
			arm.refuge = refuge
		}
	}
}

// choice is an arm and what decided it.
type choice struct {
	arm  *canaryArm // nil when all weights are 0
	by   string
	vary string // the header in which the client asked for the arm
}

func (m *canary) decide(r *http.Request, x *gateway.Exchange) choice {
	if !m.cookieFirst {
		if c := m.force(r, x); c.arm != nil {
			return c
		}
	}
	if arm := m.cookie.read(r.Header); arm != nil {
		return choice{arm: arm, by: byCookie}
	}
	if m.cookieFirst {
		if c := m.force(r, x); c.arm != nil {
			return c
		}
	}
	switch {
	case m.split == nil:
		return choice{arm: m.stable, by: byDefault}
	case m.split.sum == 0:
		return choice{}
	}
	if arm := m.sticky.draw(m.split, r, x); arm != nil {
		return choice{arm: arm, by: bySplit}
	}
	return choice{arm: m.split.draw(rand.Uint64()), by: byRandom}
}

// force is the arm that a client asks for and may have; none without such a one.
func (m *canary) force(r *http.Request, x *gateway.Exchange) choice {
	if values := r.Header[m.header]; len(values) == 1 && m.mayForce(x.Client) {
		if arm := m.asked(values[0]); arm != nil {
			return choice{arm, byHeader, m.header}
		}
	}
	if m.forceCookie != "" {
		if value, ok := onlyCookie(r.Header, m.forceCookie); ok && m.mayForce(x.Client) {
			if arm := m.word(value); arm != nil {
				return choice{arm, byCookie, "Cookie"}
			}
		}
	}
	return choice{}
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
	}
	return m.word(value)
}

// word is the arm that a word means, or nil.
func (m *canary) word(value string) *canaryArm {
	switch value {
	case wordAlways:
		return m.canary
	case wordNever:
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
	m   *canary
	x   *gateway.Exchange
	arm *canaryArm
}

func newArmWriter(w http.ResponseWriter, m *canary, x *gateway.Exchange, arm *canaryArm) *armWriter {
	w.Header()[m.responseHeader] = arm.label // for an upgrade, whose head does not come through WriteHeader
	return &armWriter{w, m, x, arm}
}

// Unwrap is for http.ResponseController.
func (w *armWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// BodyWriter is for splice.SinkOf: nothing but heads is changed here.
func (w *armWriter) BodyWriter() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *armWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		if w.x.Arm != w.arm.name { // a retry may have left it
			if arm := w.m.named(w.x.Arm); arm != nil {
				w.arm = arm
			}
		}
		w.Header()[w.m.responseHeader] = w.arm.label
	}
	w.ResponseWriter.WriteHeader(status)
}
