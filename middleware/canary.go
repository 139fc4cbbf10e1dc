package middleware

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "canary", CanaryConfig{Header: "x-canary", Stable: "stable"}, newCanary)
}

// CanaryConfig sends each request to one arm: a named subset of the route's
// upstream, or another upstream. The header decides first, then the cookie, then
// the weighted split. An arm without a healthy endpoint gives way to the
// fallback.
//
//	canary:
//	  header: x-canary
//	  split: {stable: 95, canary: 5}
//	  sticky: client
type CanaryConfig struct {
	// Header names the request header that forces an arm: `always` is the
	// canary arm, `never` the stable arm, and the name of an arm that arm. Other
	// values fall through. It is not passed upstream. Empty: no header is read.
	Header string `yaml:"header"`
	// HeaderValue, when set, is the one value that forces the canary arm; all others fall through.
	HeaderValue string `yaml:"header_value"`
	// HeaderPattern is a regular expression (RE2) for values that force the canary arm; all others fall through.
	HeaderPattern string `yaml:"header_pattern"`
	// Forward passes the header on to the upstream.
	Forward bool `yaml:"forward"`
	// AllowFrom are the networks whose clients may force an arm. Default: everybody.
	AllowFrom []netip.Prefix `yaml:"allow_from"`
	// Cookie names a cookie that pins a client to the arm that the split drew for
	// it, whichever that is. It is ignored for an arm whose weight is 0.
	Cookie string `yaml:"cookie"`
	// CookieSecret signs the cookie. Without it anybody can write one; then it
	// counts only from AllowFrom.
	CookieSecret gateway.Secret `yaml:"cookie_secret"`
	// Split is the weight of each arm. Default: everything to the stable arm.
	Split map[string]int `yaml:"split"`
	// Sticky is what the split is drawn from: `subject`, `client`, `header:NAME`
	// or `cookie:NAME`. The same value always gets the same arm, on every replica
	// and over reloads. Default, and for requests without the value: random for
	// each request. `client` takes an IPv6 address by its /64.
	Sticky StickyKey `yaml:"sticky"`
	// Salt makes splits independent of each other. Default: the upstream's name.
	Salt string `yaml:"salt"`
	// Arms that are other upstreams, or subsets under another name. Default: the
	// arms are the subsets of the route's upstream that Split, Stable and Canary name.
	Arms map[string]CanaryArm `yaml:"arms"`
	// Stable is the arm that `never` means. Default: stable.
	Stable string `yaml:"stable"`
	// Canary is the arm that `always` means. Default: the arm called canary, or
	// with two arms the one that is not stable.
	Canary string `yaml:"canary"`
	// Fallback is the arm that takes over from one without a healthy endpoint,
	// or `none`. Default: the stable arm.
	Fallback string `yaml:"fallback"`
	// ResponseHeader names a response header that tells the client its arm. Default: none.
	ResponseHeader string `yaml:"response_header"`
}

// CanaryArm says where the requests of an arm go.
type CanaryArm struct {
	// To is an upstream. Default: the route's own.
	To string `yaml:"to"`
	// Subset is an arm of that upstream. Default: all of its endpoints.
	Subset string `yaml:"subset"`
}

// Validate checks what can be checked without knowing the upstreams.
func (c CanaryConfig) Validate() error {
	var errs []error
	total := 0
	for _, name := range sortedKeys(c.Split) {
		if c.Split[name] < 0 || c.Split[name] > maxWeight {
			errs = append(errs, kind.At("split."+name, "weight must be between 0 and %d", maxWeight))
		}
		total += c.Split[name]
	}
	if len(c.Split) > 0 && total == 0 {
		errs = append(errs, kind.At("split", "all weights are 0; give at least one arm a weight"))
	}
	for _, name := range armNames(c) {
		if !isToken(name) {
			errs = append(errs, kind.At("", "%q is no valid name of an arm", name))
		}
	}
	if c.HeaderValue != "" && c.HeaderPattern != "" {
		errs = append(errs, kind.At("header_pattern", "header_value and header_pattern exclude each other"))
	}
	if _, err := regexp.Compile(c.HeaderPattern); err != nil {
		errs = append(errs, kind.At("header_pattern", "%w", err))
	}
	for path, name := range map[string]string{"header": c.Header, "response_header": c.ResponseHeader, "cookie": c.Cookie} {
		if name != "" && !isToken(name) {
			errs = append(errs, kind.At(path, "%q is no valid name", name))
		}
	}
	if c.CookieSecret != "" && len(c.CookieSecret.Reveal()) < minCookieSecret {
		errs = append(errs, kind.At("cookie_secret", "must have at least %d bytes", minCookieSecret))
	}
	return errors.Join(errs...)
}

const (
	maxWeight       = 1_000_000
	minCookieSecret = 32
	noFallback      = "none"
)

// canary is the running middleware. It never changes after newCanary.
type canary struct {
	header         string // canonical; "" reads none
	value          string
	pattern        *regexp.Regexp
	forward        bool
	allowFrom      []netip.Prefix
	cookie         pinCookie
	sticky         StickyKey
	split          split
	arms           []*canaryArm
	stable, canary *canaryArm
	fallback       *canaryArm // nil: none
	responseHeader string
}

type canaryArm struct {
	name    string
	cluster gateway.Cluster
	subset  string
	weight  int
}

func newCanary(c CanaryConfig, env Env) (gateway.Step, error) {
	arms, err := resolveArms(c, env)
	if err != nil {
		return gateway.Step{}, err
	}
	m := &canary{
		header: http.CanonicalHeaderKey(c.Header), value: c.HeaderValue, forward: c.Forward,
		allowFrom: c.AllowFrom, sticky: c.Sticky, arms: arms, responseHeader: c.ResponseHeader,
	}
	if c.HeaderPattern != "" {
		m.pattern = regexp.MustCompile(c.HeaderPattern) // Validate has compiled it
	}
	if m.stable, m.canary, m.fallback, err = namedArms(c, arms); err != nil {
		return gateway.Step{}, err
	}
	salt := c.Salt
	if salt == "" {
		salt = env.To.Name()
	}
	m.split = newSplit(arms, m.stable, salt)
	m.cookie = newPinCookie(c.Cookie, c.CookieSecret, salt)
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain}
	if c.Sticky.From == stickySubject {
		step.Needs = []gateway.Identity{gateway.Subject}
	}
	return step, nil
}

// resolveArms finds the cluster and subset of every arm that the settings name.
func resolveArms(c CanaryConfig, env Env) ([]*canaryArm, error) {
	if env.To == nil {
		return nil, kind.At("", "canary needs a route with an upstream (`to:`)")
	}
	var arms []*canaryArm
	var errs []error
	for _, name := range armNames(c) {
		arm := &canaryArm{name: name, cluster: env.To, subset: name, weight: c.Split[name]}
		if spec, ok := c.Arms[name]; ok {
			arm.subset = spec.Subset
			if spec.To != "" {
				cluster, found := env.Upstream(spec.To)
				if !found {
					errs = append(errs, kind.At("arms."+name+".to", "unknown upstream %q", spec.To))
					continue
				}
				arm.cluster = cluster
			}
		}
		if arm.subset != "" && !arm.cluster.HasSubset(arm.subset) {
			errs = append(errs, kind.At(armPath(c, name), "upstream %q has no arm %q; define it under upstreams.%s.arms, or here under arms",
				arm.cluster.Name(), arm.subset, arm.cluster.Name()))
		}
		arms = append(arms, arm)
	}
	return arms, errors.Join(errs...)
}

// armNames are all arms that the settings speak of, sorted so that every
// replica numbers them alike.
func armNames(c CanaryConfig) []string {
	names := []string{c.Stable}
	for name := range c.Arms {
		names = append(names, name)
	}
	for name := range c.Split {
		names = append(names, name)
	}
	for _, name := range []string{c.Canary, c.Fallback} {
		if name != "" && name != noFallback {
			names = append(names, name)
		}
	}
	if len(c.Arms) == 0 && len(c.Split) == 0 && c.Canary == "" {
		names = append(names, "canary")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// armPath is the setting to point at when arm name cannot be had.
func armPath(c CanaryConfig, name string) string {
	if _, ok := c.Arms[name]; ok {
		return "arms." + name + ".subset"
	}
	if _, ok := c.Split[name]; ok {
		return "split." + name
	}
	return ""
}

func namedArms(c CanaryConfig, arms []*canaryArm) (stable, canary, fallback *canaryArm, err error) {
	find := func(name string) *canaryArm {
		i := slices.IndexFunc(arms, func(a *canaryArm) bool { return a.name == name })
		if i < 0 {
			return nil
		}
		return arms[i]
	}
	stable = find(c.Stable)
	switch {
	case c.Canary != "":
		canary = find(c.Canary)
	case find("canary") != nil:
		canary = find("canary")
	case len(arms) == 2:
		canary = arms[0]
		if canary == stable {
			canary = arms[1]
		}
	default:
		return nil, nil, nil, kind.At("", "which arm is the canary? Name one of %s in `canary:`", strings.Join(names(arms), ", "))
	}
	switch c.Fallback {
	case "":
		fallback = stable
	case noFallback:
	default:
		fallback = find(c.Fallback)
	}
	return stable, canary, fallback, nil
}

func (m *canary) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		drawn := m.apply(r, x)
		if m.header != "" && !m.forward && len(r.Header[m.header]) > 0 {
			x.DropUpstreamHeader(m.header)
		}
		if m.responseHeader != "" {
			w.Header().Set(m.responseHeader, x.Arm)
		}
		if m.cookie.name != "" && drawn {
			w.Header().Add("Set-Cookie", m.cookie.write(x))
		}
		next.ServeHTTP(w, r)
	})
}

// apply decides the arm and enters it in x. drawn says that the split decided,
// which is what the cookie is to remember; a fallback is not remembered.
func (m *canary) apply(r *http.Request, x *gateway.Exchange) (drawn bool) {
	arm, by := m.decide(r, x)
	drawn = by == "split" || by == "random"
	if m.fallback != nil && m.fallback != arm && arm.cluster.Healthy(arm.subset) == 0 &&
		m.fallback.cluster.Healthy(m.fallback.subset) > 0 {
		arm, by, drawn = m.fallback, "fallback", false
	}
	x.Arm, x.ArmBy, x.Subset, x.Cluster, x.Upstream = arm.name, by, arm.subset, arm.cluster, arm.cluster.Name()
	return drawn
}

func (m *canary) decide(r *http.Request, x *gateway.Exchange) (arm *canaryArm, by string) {
	mayForce := m.mayForce(x.Client)
	if arm := m.fromHeader(r); arm != nil && mayForce {
		return arm, "header"
	}
	if arm := m.fromCookie(r, mayForce); arm != nil {
		return arm, "cookie"
	}
	if key, ok := m.sticky.of(r, x); ok {
		return m.split.sticky(key), "split"
	}
	return m.split.draw(rand.Uint64()), "random"
}

func (m *canary) mayForce(client netip.Addr) bool {
	return m.allowFrom == nil || slices.ContainsFunc(m.allowFrom, func(p netip.Prefix) bool { return p.Contains(client) })
}

// fromHeader is the arm that the header asks for, or nil. A header that is
// given twice asks for nothing.
func (m *canary) fromHeader(r *http.Request) *canaryArm {
	values := r.Header[m.header]
	if m.header == "" || len(values) != 1 {
		return nil
	}
	switch value := values[0]; {
	case m.value != "":
		if value == m.value {
			return m.canary
		}
		return nil
	case m.pattern != nil:
		if m.pattern.MatchString(value) {
			return m.canary
		}
		return nil
	case value == "always":
		return m.canary
	case value == "never":
		return m.stable
	default:
		return m.named(value)
	}
}

func (m *canary) fromCookie(r *http.Request, mayForce bool) *canaryArm {
	if m.cookie.name == "" || !m.cookie.signed() && !mayForce {
		return nil
	}
	name, ok := m.cookie.read(r)
	if !ok {
		return nil
	}
	if arm := m.named(name); arm != nil && arm.weight > 0 {
		return arm // an arm that was turned off lets its clients go
	}
	return nil
}

func (m *canary) named(name string) *canaryArm {
	for _, arm := range m.arms {
		if arm.name == name {
			return arm
		}
	}
	return nil
}

func (m *canary) explain(r *http.Request, x *gateway.Exchange) string {
	m.apply(r, x)
	where := x.Upstream
	if x.Subset != "" {
		where += ", subset " + x.Subset
	}
	why := map[string]string{
		"header":   fmt.Sprintf("header %s: %s", strings.ToLower(m.header), r.Header.Get(m.header)),
		"cookie":   "cookie " + m.cookie.name,
		"split":    fmt.Sprintf("split %s by %s", m.split, m.sticky),
		"random":   fmt.Sprintf("split %s at random", m.split),
		"fallback": "fallback: the arm first chosen has no healthy endpoint",
	}[x.ArmBy]
	if x.ArmBy == "random" && m.stable.weight == 0 && len(m.split.arms) == 1 {
		why = "default: there is no split"
	}
	return fmt.Sprintf("arm %s (%s), by %s", x.Arm, where, why)
}
