package middleware

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "debug", DebugConfig{
		Header: "x-pithead-debug", AllowFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}, newDebug)
}

// DebugConfig shows a caller what the gateway saw in a request and did with it: a
// request with the header `x-pithead-debug: 1` gets response headers that begin
// with that name. Nobody else gets any.
//
//	debug: {allow_from: [192.0.2.0/24]}
//
// There is one for each thing that is known when the answer begins: `-request-id`,
// `-client`, `-request`, `-route`, `-subject`, `-upstream`, `-subset`, `-arm`,
// `-arm-by`, `-endpoint`, `-attempts` and `-error`. Server-Timing has the
// milliseconds in the gateway and those until the upstream's answer began, after
// what the upstream itself says there. Such an answer is not to be cached. Steps
// before the block in `use` may answer without it, so it best comes first.
type DebugConfig struct {
	// Header is the name of the request header, and what the response headers begin
	// with. It is not passed upstream. Default: x-pithead-debug.
	Header string `yaml:"header"`
	// AllowFrom are the networks whose clients may ask. The answers name endpoints and
	// identities, so these are networks of yours. A proxy in front that is not one of
	// `trusted_proxies` makes all clients come from its own address. Default:
	// 127.0.0.0/8 and ::1/128, this machine.
	AllowFrom []netip.Prefix `yaml:"allow_from"`
	// Secret is the value that the header must have, beside the right address. At
	// least 16 bytes. Default: none, the value is 1.
	Secret gateway.Secret `yaml:"secret"`
}

const (
	minDebugSecret = 16
	plainDebug     = "1" // the value of the header without a secret
)

// Validate refuses settings that would show everything to everybody.
func (c DebugConfig) Validate() error {
	var errs []error
	if c.Header == "" {
		errs = append(errs, kind.At("header", "needs a name"))
	} else {
		errs = append(errs, validateName("header", c.Header), readable("header", c.Header))
	}
	secret := c.Secret.Reveal()
	switch {
	case secret != "" && len(secret) < minDebugSecret:
		errs = append(errs, kind.At("secret", "must have at least %d bytes", minDebugSecret))
	case !isHeaderValue(secret):
		errs = append(errs, kind.At("secret", "begins or ends with a space, or holds a control character"))
	}
	if len(c.AllowFrom) == 0 {
		errs = append(errs, kind.At("allow_from", "allows nobody; list networks, or remove the block"))
	}
	for i, p := range c.AllowFrom {
		if p.Bits() == 0 && secret == "" {
			errs = append(errs, kind.At(fmt.Sprintf("allow_from[%d]", i), "shows addresses of the inside to everybody; give a secret, or narrow it down"))
		}
	}
	return errors.Join(errs...)
}

// debugFacts are what there is to show of a request, by the end of the header's name.
var debugFacts = []struct {
	name string
	of   func(*http.Request, *gateway.Exchange) string
}{
	{"Request-Id", func(_ *http.Request, x *gateway.Exchange) string { return x.ID }},
	{"Client", func(_ *http.Request, x *gateway.Exchange) string {
		if !x.Client.IsValid() {
			return ""
		}
		return x.Client.String()
	}},
	{"Request", func(r *http.Request, x *gateway.Exchange) string {
		return r.Method + " " + x.Scheme + "://" + r.Host + r.URL.EscapedPath() // queries may hold secrets
	}},
	{"Route", func(_ *http.Request, x *gateway.Exchange) string { return x.Route }},
	{"Subject", func(_ *http.Request, x *gateway.Exchange) string { return x.Subject }},
	{"Upstream", func(_ *http.Request, x *gateway.Exchange) string { return x.Upstream }},
	{"Subset", func(_ *http.Request, x *gateway.Exchange) string { return x.Subset }},
	{"Arm", func(_ *http.Request, x *gateway.Exchange) string { return x.Arm }},
	{"Arm-By", func(_ *http.Request, x *gateway.Exchange) string { return x.ArmBy }},
	{"Endpoint", func(_ *http.Request, x *gateway.Exchange) string {
		if x.Endpoint == nil {
			return ""
		}
		return x.Endpoint.Addr
	}},
	{"Attempts", func(_ *http.Request, x *gateway.Exchange) string { return strconv.Itoa(x.Attempts) }},
	{"Error", func(_ *http.Request, x *gateway.Exchange) string {
		if x.Err == nil {
			return ""
		}
		return x.Err.Reason + ", caused by " + x.Err.Cause.String()
	}},
}

// debugger is the running middleware.
type debugger struct {
	header    string // canonical
	names     []string
	allowFrom []netip.Prefix
	secret    bool
	value     [sha256.Size]byte // of the header
}

func newDebug(c DebugConfig, _ Env) (gateway.Step, error) {
	m := &debugger{header: http.CanonicalHeaderKey(c.Header), allowFrom: c.AllowFrom, secret: c.Secret != ""}
	for _, fact := range debugFacts {
		m.names = append(m.names, m.header+"-"+fact.name)
	}
	value := plainDebug
	if m.secret {
		value = c.Secret.Reveal()
	}
	m.value = sha256.Sum256([]byte(value))
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

func (m *debugger) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := r.Header[m.header]
		if len(values) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		x := gateway.ExchangeOf(r)
		x.DropUpstreamHeader(m.header)
		if m.mayAsk(x.Client) != "" || !m.asks(values) {
			next.ServeHTTP(w, r)
			return
		}
		hw := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.show(h, r, x, time.Now()) }}
		next.ServeHTTP(hw, r)
		hw.finish()
	})
}

// mayAsk is why client may not ask; "" if it may.
func (m *debugger) mayAsk(client netip.Addr) string {
	if slices.ContainsFunc(m.allowFrom, func(p netip.Prefix) bool { return p.Contains(client) }) {
		return ""
	}
	return "the client is not one of allow_from"
}

// asks says whether the header has the value that asks. Digests are compared, so
// that the time tells nothing of the secret's length either.
func (m *debugger) asks(values []string) bool {
	if len(values) != 1 {
		return false
	}
	got := sha256.Sum256([]byte(values[0]))
	return subtle.ConstantTimeCompare(got[:], m.value[:]) == 1
}

// show writes the facts into the head of an answer. An upstream must not be able
// to make up any, so what it says under these names goes.
func (m *debugger) show(h http.Header, r *http.Request, x *gateway.Exchange, now time.Time) {
	for i, fact := range debugFacts {
		delete(h, m.names[i])
		if value := fact.of(r, x); value != "" {
			h[m.names[i]] = []string{printable(value)}
		}
	}
	h["Server-Timing"] = slices.Concat(h["Server-Timing"], []string{serverTiming(x, now)})
	h["Cache-Control"] = []string{"no-store"}
}

// serverTiming says where the time until now went. The upstream's part ends with
// the head of its answer, or with its failure.
func serverTiming(x *gateway.Exchange, now time.Time) string {
	whole, upstream := now.Sub(x.Start), time.Duration(0)
	if !x.UpstreamStart.IsZero() {
		end := x.UpstreamHeaders
		if end.Before(x.UpstreamStart) { // there was no answer
			end = now
		}
		upstream = end.Sub(x.UpstreamStart)
	}
	return "gateway;dur=" + millis(whole-upstream) + ", upstream;dur=" + millis(upstream)
}

func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(max(d, 0).Microseconds())/1000, 'f', 3, 64)
}

// printable is s as it can stand in a header.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}

func (m *debugger) explain(r *http.Request, x *gateway.Exchange) string {
	values := r.Header[m.header]
	switch why := m.mayAsk(x.Client); {
	case len(values) == 0:
		return "shows nothing: the request has no " + m.header
	case x.Client.IsValid() && why != "":
		return "shows nothing: " + why
	case !m.asks(values):
		return "shows nothing: " + m.header + " has another value"
	}
	return "shows what was done to clients from " + prefixes(m.allowFrom)
}

func prefixes(list []netip.Prefix) string {
	var all []string
	for _, p := range list {
		all = append(all, p.String())
	}
	return strings.Join(all, ", ")
}
