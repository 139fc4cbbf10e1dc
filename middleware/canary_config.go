package middleware

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
)

// CanaryConfig sends each request to one arm: a named subset of the route's
// upstream, or another upstream. The header decides first, then the cookies, then
// the weighted split; without a split the rest is stable. An arm without a
// healthy endpoint gives way to the fallback. The arm is in metrics and logs,
// what decided it in logs.
//
//	canary:
//	  header: x-canary
//	  split: {stable: 95, canary: 5}
//	  sticky: client
type CanaryConfig struct {
	// Header names the request header that forces an arm: `always` is the
	// canary arm, `never` the stable arm, and the name of an arm that arm, even
	// one whose weight is 0. Other values, and a header that is given twice, count
	// as absent. It is not passed upstream. Answers that it decided have it in
	// Vary. Empty: no header is read, and a split is needed.
	Header string `yaml:"header"`
	// HeaderValue, when set, is the one value that forces the canary arm; all others count as absent.
	HeaderValue string `yaml:"header_value"`
	// HeaderPattern is a regular expression (RE2) for values that force the canary
	// arm; all others count as absent. It matches anywhere in the value; `^` and
	// `$` tie it to the ends.
	HeaderPattern string `yaml:"header_pattern"`
	// Forward passes the header on to the upstream, from clients that may force an arm.
	Forward bool `yaml:"forward"`
	// AllowFrom are the networks whose clients may force an arm; `[]` is nobody.
	// From all others the header and `force_cookie` count as absent. Needs one of them.
	// Default: everybody.
	AllowFrom []netip.Prefix `yaml:"allow_from"`
	// ForceCookie names a cookie of the application that forces an arm where the header
	// does not: `always`, `never` or the name of an arm. Other values, and a cookie
	// that is sent twice, count as absent. The gateway never sets it and passes it on.
	// Answers that it decided have Cookie in Vary. Default: none.
	ForceCookie string `yaml:"force_cookie"`
	// Cookie names a cookie that pins a client for 30 days to the arm that the
	// split drew for it, whichever that is. It lets go when the weight of its arm
	// becomes 0. It is set for the whole host, so routes that split in different
	// ways need different names. Answers that set it forbid caches to keep it.
	// Needs a split. Default: none.
	Cookie string `yaml:"cookie"`
	// CookieFirst lets the cookie decide before the header, and pins clients to arms that the
	// header or `force_cookie` has chosen too. Needs a cookie. Default: false.
	CookieFirst bool `yaml:"cookie_first"`
	// CookieSecret signs the cookie, so that a client cannot write one that it
	// was not given. Needed beside `allow_from`. At least 32 bytes.
	CookieSecret gateway.Secret `yaml:"cookie_secret"`
	// Split is the weight of each arm, the stable arm among them: whole numbers from 0
	// up with any sum, of which the proportion counts. If all are 0, a request that
	// nothing forces gets 500. Arms that it does not name are reached by the header or as
	// the fallback. Growing one arm moves clients only into it, but adding a third
	// arm to two draws anew for all. Default: everything to the stable arm.
	Split map[string]int `yaml:"split"`
	// Sticky is what the split is drawn from: `subject`, `client`, `header:NAME`
	// or `cookie:NAME`. Needs a split. The same value always gets the same arm, on every replica
	// and over reloads. Default, and for requests without the value or with two:
	// random for each request. `client` takes an IPv6 address by its /64.
	Sticky StickyKey `yaml:"sticky"`
	// Salt makes splits independent of each other. Needs a split. Somebody who knows it and may
	// choose the sticky value can work out values for the arm he wants; a secret
	// one, such as `${file:/run/secrets/salt}`, prevents that. Default: the name
	// of the route's upstream.
	Salt string `yaml:"salt"`
	// Arms that are other upstreams, or subsets under another name. Default: the
	// arms are the subsets of the route's upstream that the other settings name.
	Arms map[string]CanaryArm `yaml:"arms"`
	// Stable is the arm that `never` means. Default: stable.
	Stable string `yaml:"stable"`
	// Canary is the arm that `always` means. Default: the arm called canary, else
	// the only one that is not stable. Among several it must be named, unless no
	// header and no `force_cookie` is read.
	Canary string `yaml:"canary"`
	// Fallback is the arm that takes over from one without a healthy endpoint, as
	// long as it has one itself, or `none`. Nothing takes over from the fallback:
	// by default requests for an empty stable arm fail, and the canary gets no
	// more than its share. Default: the stable arm.
	Fallback string `yaml:"fallback"`
	// ResponseHeader names a response header that tells the client its arm, on
	// error answers too. It takes the place of one from the upstream. Default: none.
	ResponseHeader string `yaml:"response_header"`
}

// CanaryArm says where the requests of an arm go.
type CanaryArm struct {
	// To is an upstream. Default: the route's own.
	To string `yaml:"to"`
	// Subset is an arm of that upstream. Default: all of its endpoints.
	Subset string `yaml:"subset"`
	// Headers changes the headers of requests that go to this arm, and of their answers. The
	// settings are those of the middleware of that name; of the request they build on what
	// blocks before the canary have changed. Default: none.
	Headers *HeadersConfig `yaml:"headers"`
}

const (
	minCookieSecret = 32
	noFallback      = "none"
)

// Validate checks what can be checked without knowing the upstreams.
func (c CanaryConfig) Validate() error {
	return errors.Join(c.validateSplit(), c.validateArmNames(), c.validateHeader(), c.validateCookie(), c.validateUse())
}

// validateUse refuses what would do nothing, because whoever wrote it believes
// that it does something.
func (c CanaryConfig) validateUse() error {
	var errs []error
	needs := func(what, path string, set bool) {
		if set {
			errs = append(errs, kind.At(path, "is of no use without a %s", what))
		}
	}
	if c.Header == "" {
		needs("header", "header_value", c.HeaderValue != "")
		needs("header", "header_pattern", c.HeaderPattern != "")
		needs("header", "forward", c.Forward)
		needs("header or a force_cookie", "allow_from", c.AllowFrom != nil && c.ForceCookie == "")
	}
	if c.Cookie == "" {
		needs("cookie", "cookie_first", c.CookieFirst)
	}
	if len(c.Split) == 0 {
		needs("split", "cookie", c.Cookie != "")
		needs("split", "sticky", c.Sticky.From != "")
		needs("split", "salt", c.Salt != "")
	}
	if !c.forced() && len(c.Split) == 0 {
		errs = append(errs, kind.At("header", "without a header or a split nothing sends a request to the canary; give one of them"))
	}
	return errors.Join(errs...)
}

// forced says whether a request can ask for its arm.
func (c CanaryConfig) forced() bool { return c.Header != "" || c.ForceCookie != "" }

func (c CanaryConfig) validateSplit() error {
	var errs []error
	for _, name := range sortedKeys(c.Split) {
		if c.Split[name] < 0 {
			errs = append(errs, kind.At("split."+name, "weight must not be negative"))
		}
	}
	if len(c.Split) == 0 || len(errs) > 0 {
		return errors.Join(errs...)
	}
	if _, ok := c.Split[c.Stable]; !ok {
		// {canary: 5} looks like 5 % and would be everything.
		return kind.At("split", "gives the stable arm no weight; write for example {%s: 95, canary: 5}, or %s: 0 if it is to get nothing", c.Stable, c.Stable)
	}
	return nil
}

func (c CanaryConfig) validateArmNames() error {
	var errs []error
	for _, name := range armNames(c) {
		switch {
		case !grammar.IsToken(name):
			errs = append(errs, kind.At(armPath(c, name), "%q is no valid name of an arm", name))
		case name == wordAlways, name == wordNever, name == noFallback:
			errs = append(errs, kind.At(armPath(c, name), "an arm cannot be called %s", name))
		}
	}
	return errors.Join(errs...)
}

func (c CanaryConfig) validateHeader() error {
	var errs []error
	if c.HeaderValue != "" && c.HeaderPattern != "" {
		errs = append(errs, kind.At("header_pattern", "header_value and header_pattern exclude each other"))
	}
	if _, err := regexp.Compile(c.HeaderPattern); err != nil {
		errs = append(errs, kind.At("header_pattern", "%w", err))
	}
	if c.Header != "" {
		errs = append(errs, validateName("header", c.Header), readable("header", c.Header))
	}
	if c.ResponseHeader != "" {
		errs = append(errs, validateName("response_header", c.ResponseHeader))
	}
	if c.Sticky.From == stickyHeader {
		errs = append(errs, readable("sticky", c.Sticky.Name))
	}
	return errors.Join(errs...)
}

func (c CanaryConfig) validateCookie() error {
	var err error
	if c.ForceCookie != "" {
		err = validateName("force_cookie", c.ForceCookie)
	}
	if c.Cookie == "" {
		if c.CookieSecret != "" {
			err = errors.Join(err, kind.At("cookie_secret", "is of no use without a cookie"))
		}
		return err
	}
	err = errors.Join(err, validateName("cookie", c.Cookie))
	switch {
	case c.Cookie == c.ForceCookie:
		return errors.Join(err, kind.At("force_cookie", "is the cookie that the gateway sets; give one of them another name"))
	case c.CookieSecret == "" && c.AllowFrom != nil:
		return errors.Join(err, kind.At("cookie", "anybody could write the cookie and get round allow_from; give a cookie_secret"))
	case c.CookieSecret != "" && len(c.CookieSecret.Reveal()) < minCookieSecret:
		return errors.Join(err, kind.At("cookie_secret", "must have at least %d bytes", minCookieSecret))
	}
	return err
}

func validateName(path, name string) error {
	if !grammar.IsToken(name) {
		return kind.At(path, "%q is no valid name", name)
	}
	return nil
}

// readable checks that a header gets here at all. Some never do, because they
// are the connection's or anybody could forge them, and a decision that waits
// for one would never be made. The canonical view itself is asked, so that this
// cannot differ from it, and asked by a peer that it trusts.
func readable(path, name string) error {
	if !grammar.IsToken(name) {
		return nil // another error
	}
	name = http.CanonicalHeaderKey(name)
	peer := netip.MustParseAddrPort("192.0.2.1:1")
	policy := canon.NewPolicy(canon.Options{Trusted: []netip.Prefix{netip.PrefixFrom(peer.Addr(), 32)}, Keep: []string{name}})
	r := &http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, URL: &url.URL{Path: "/"}, RequestURI: "/",
		Host: "a.example", Header: http.Header{name: {"198.51.100.1"}}, RemoteAddr: peer.String(),
	}
	if _, err := policy.Request(r, &gateway.Exchange{}); err != nil || r.Header[name] == nil {
		return kind.At(path, "the header %s cannot be read here: it is not passed on from outside", name)
	}
	return nil
}

// armNames are all arms that the settings speak of, sorted so that every
// replica numbers them alike.
func armNames(c CanaryConfig) []string {
	names := slices.Concat([]string{c.Stable}, sortedKeys(c.Arms), sortedKeys(c.Split))
	for _, name := range []string{c.Canary, c.Fallback} {
		if name != "" && name != noFallback {
			names = append(names, name)
		}
	}
	if len(c.Arms) == 0 && len(c.Split) == 0 && c.Canary == "" {
		names = append(names, defaultCanary)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const defaultCanary = "canary"

// canaryName is the arm that `always` means.
func canaryName(c CanaryConfig) (string, error) {
	others := slices.DeleteFunc(armNames(c), func(name string) bool { return name == c.Stable })
	switch {
	case c.Canary != "" && c.Canary == c.Stable:
		return "", kind.At("canary", "the canary arm is the stable arm")
	case c.Canary != "":
		return c.Canary, nil
	case slices.Contains(others, defaultCanary):
		return defaultCanary, nil
	case len(others) == 1:
		return others[0], nil
	case len(others) == 0:
		return "", kind.At("", "there is no arm beside %q; name the canary in \"split\", \"arms\" or \"canary\"", c.Stable)
	}
	if !c.forced() {
		return "", nil // nobody can say `always`
	}
	return "", kind.At("", "which arm is the canary? Name one of %s in \"canary\"", strings.Join(others, ", "))
}

// armPath is the setting to point at when arm name cannot be had.
func armPath(c CanaryConfig, name string) string {
	_, isArm := c.Arms[name]
	_, isSplit := c.Split[name]
	switch {
	case isArm:
		return "arms." + name
	case isSplit:
		return "split." + name
	case name == c.Canary:
		return "canary"
	case name == c.Fallback:
		return "fallback"
	case name == c.Stable && name != "stable":
		return "stable"
	}
	return "" // a default, which stands nowhere
}

// resolveArms finds the cluster and subset of every arm that the settings name.
func resolveArms(c CanaryConfig, env Env) ([]*canaryArm, error) {
	if env.To == nil {
		return nil, kind.At("", "canary needs a route with an upstream (`to:`)")
	}
	var arms []*canaryArm
	var errs []error
	for _, name := range armNames(c) {
		arm := &canaryArm{name: name, cluster: env.To, subset: name, weight: c.Split[name], label: []string{name}}
		path := armPath(c, name)
		if spec, ok := c.Arms[name]; ok {
			arm.subset = spec.Subset
			arm.headers(spec.Headers)
			path += ".subset"
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
			errs = append(errs, kind.At(path, "upstream %q has no arm %q; define it under upstreams.%s.arms, or here under arms",
				arm.cluster.Name(), arm.subset, arm.cluster.Name()))
		}
		arms = append(arms, arm)
	}
	return arms, errors.Join(errs...)
}
