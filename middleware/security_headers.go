package middleware

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "security_headers", SecurityHeadersConfig{
		Nosniff: true, Frame: "deny", Referrer: "strict-origin-when-cross-origin", NonceHeader: "x-csp-nonce",
	}, newSecurityHeaders)
}

// SecurityHeadersConfig tells browsers how careful to be with the answers of the
// route, error answers among them.
//
//	security_headers:
//	  hsts: {max_age: 8760h}
//	  csp: "default-src 'self'; script-src 'nonce-{nonce}' 'strict-dynamic'"
//	  hide_software: true
//
// What the upstream says under these names stays as it is, unless there is
// `override`. To leave a header out, give it as an empty text: `frame: ""`.
type SecurityHeadersConfig struct {
	// HSTS makes browsers use TLS only, from then on. It is sent on TLS alone. Default: none.
	HSTS *HSTSConfig `yaml:"hsts"`
	// Nosniff keeps browsers from guessing media types. Default: true.
	Nosniff bool `yaml:"nosniff"`
	// Frame says which pages may show the answers in a frame: `deny`, or `sameorigin`. Default: deny.
	Frame string `yaml:"frame"`
	// Referrer is the Referrer-Policy: how much other sites learn of where their visitors
	// come from. Default: strict-origin-when-cross-origin.
	Referrer string `yaml:"referrer"`
	// Permissions is the Permissions-Policy, as `camera=(), geolocation=(self)`. Default: none.
	Permissions string `yaml:"permissions"`
	// Opener is the Cross-Origin-Opener-Policy: `same-origin`,
	// `same-origin-allow-popups`, `noopener-allow-popups` or `unsafe-none`. Default: none.
	Opener string `yaml:"opener"`
	// Resource is the Cross-Origin-Resource-Policy: `same-origin`, `same-site` or
	// `cross-origin`. Default: none.
	Resource string `yaml:"resource"`
	// Embedder is the Cross-Origin-Embedder-Policy: `require-corp`, `credentialless` or
	// `unsafe-none`. Default: none.
	Embedder string `yaml:"embedder"`
	// CSP is the Content-Security-Policy. In it, {nonce} becomes a number that is used
	// once: 'nonce-{nonce}' allows the scripts that carry it. Default: none.
	CSP string `yaml:"csp"`
	// CSPReportOnly is a policy that browsers only report on, to try one out; it may hold
	// {nonce} too. Default: none.
	CSPReportOnly string `yaml:"csp_report_only"`
	// NonceHeader is the request header in which the upstream gets the nonce, to write it
	// into its pages. Nobody else can set it, on any route. It is only sent if a policy
	// holds {nonce}. Default: x-csp-nonce.
	NonceHeader string `yaml:"nonce_header"`
	// Override replaces what the upstream says. Default: false.
	Override bool `yaml:"override"`
	// HideSoftware removes Server, X-Powered-By, X-AspNet-Version and X-AspNetMvc-Version.
	// Default: false.
	HideSoftware bool `yaml:"hide_software"`
}

// HSTSConfig is HTTP Strict Transport Security (RFC 6797). Browsers remember it: it
// cannot be taken back before MaxAge is over.
type HSTSConfig struct {
	// MaxAge is how long browsers remember, in whole seconds; 0s makes them forget. A year is
	// 8760h. Required.
	MaxAge time.Duration `yaml:"max_age,required"`
	// IncludeSubdomains is for all names below the host as well. Default: false.
	IncludeSubdomains bool `yaml:"include_subdomains"`
	// Preload asks for a place in the lists that browsers are shipped with. It needs
	// include_subdomains and a year. Default: false.
	Preload bool `yaml:"preload"`
}

const year = 365 * 24 * time.Hour

// Validate checks what browsers and their lists want.
func (c HSTSConfig) Validate() error {
	switch {
	case c.MaxAge%time.Second != 0:
		return kind.At("max_age", "is no whole number of seconds")
	case c.Preload && (!c.IncludeSubdomains || c.MaxAge < year):
		return kind.At("preload", "the lists of browsers want include_subdomains and a max_age of a year, 8760h")
	}
	return nil
}

func (c HSTSConfig) value() string {
	s := "max-age=" + strconv.FormatInt(int64(c.MaxAge/time.Second), 10)
	if c.IncludeSubdomains {
		s += "; includeSubDomains"
	}
	if c.Preload {
		s += "; preload"
	}
	return s
}

var (
	framePolicies    = []string{"deny", "sameorigin"}
	openerPolicies   = []string{"same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"}
	resourcePolicies = []string{"same-origin", "same-site", "cross-origin"}
	embedderPolicies = []string{"require-corp", "credentialless", "unsafe-none"}
	referrerPolicies = []string{
		"no-referrer", "no-referrer-when-downgrade", "origin", "origin-when-cross-origin", "same-origin", "strict-origin",
		"strict-origin-when-cross-origin", "unsafe-url",
	}
)

// nonceField stands for the nonce in a policy.
const nonceField = "{nonce}"

// Validate checks each header.
func (c SecurityHeadersConfig) Validate() error {
	var errs []error
	for _, s := range []struct {
		at, value string
		of        []string
	}{
		{"frame", c.Frame, framePolicies},
		{"referrer", c.Referrer, referrerPolicies},
		{"opener", c.Opener, openerPolicies},
		{"resource", c.Resource, resourcePolicies},
		{"embedder", c.Embedder, embedderPolicies},
	} {
		if s.value != "" && !slices.Contains(s.of, s.value) {
			errs = append(errs, kind.At(s.at, "%q is none of %s", s.value, strings.Join(s.of, ", ")))
		}
	}
	if !isVisible(c.Permissions) {
		errs = append(errs, kind.At("permissions", "a policy is one line of printable ASCII"))
	}
	errs = append(errs, validatePolicy("csp", c.CSP), validatePolicy("csp_report_only", c.CSPReportOnly))
	if c.hasNonce() {
		errs = append(errs, validateHeaderName("nonce_header", c.NonceHeader))
	}
	if len(newSecurityHeaderLines(c)) == 0 && !c.hasNonce() && c.HSTS == nil && !c.HideSoftware {
		errs = append(errs, kind.At("", "sets nothing"))
	}
	return errors.Join(errs...)
}

func (c SecurityHeadersConfig) hasNonce() bool {
	return strings.Contains(c.CSP+c.CSPReportOnly, nonceField)
}

func validatePolicy(at, policy string) error {
	switch {
	case !isVisible(policy):
		return kind.At(at, "a policy is one line of printable ASCII")
	case strings.Count(policy, nonceField) != strings.Count(policy, "'nonce-"+nonceField+"'"):
		return kind.At(at, "a nonce is written 'nonce-{nonce}', with its quotes")
	}
	return nil
}

// securityHeaders is the running middleware. Answers share its lists.
type securityHeaders struct {
	lines    []headerLine
	hsts     []string
	policies []noncePolicy
	nonce    string // header of the request; "" without a nonce
	override bool
	hide     bool
}

// noncePolicy is a header whose value holds a nonce.
type noncePolicy struct{ name, text string }

// newSecurityHeaderLines are the headers that are the same in all answers.
func newSecurityHeaderLines(c SecurityHeadersConfig) (lines []headerLine) {
	add := func(name, value string) {
		if value != "" && !strings.Contains(value, nonceField) {
			lines = append(lines, headerLine{name, []string{value}})
		}
	}
	if c.Nosniff {
		add("X-Content-Type-Options", "nosniff")
	}
	add("X-Frame-Options", strings.ToUpper(c.Frame))
	add("Referrer-Policy", c.Referrer)
	add("Permissions-Policy", c.Permissions)
	add("Cross-Origin-Opener-Policy", c.Opener)
	add("Cross-Origin-Resource-Policy", c.Resource)
	add("Cross-Origin-Embedder-Policy", c.Embedder)
	add("Content-Security-Policy", c.CSP)
	add("Content-Security-Policy-Report-Only", c.CSPReportOnly)
	return lines
}

func newSecurityHeaders(c SecurityHeadersConfig, _ Env) (gateway.Step, error) {
	m := &securityHeaders{lines: newSecurityHeaderLines(c), override: c.Override, hide: c.HideSoftware}
	if c.HSTS != nil {
		m.hsts = []string{c.HSTS.value()}
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain}
	if c.hasNonce() {
		m.nonce = http.CanonicalHeaderKey(c.NonceHeader)
		step.Owns = []string{m.nonce}
	}
	for _, p := range []noncePolicy{{"Content-Security-Policy", c.CSP}, {"Content-Security-Policy-Report-Only", c.CSPReportOnly}} {
		if strings.Contains(p.text, nonceField) {
			m.policies = append(m.policies, p)
		}
	}
	return step, nil
}

func (m *securityHeaders) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		nonce := m.newNonce(x)
		hw := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.answer(h, x.Scheme == "https", nonce) }}
		next.ServeHTTP(hw, r)
		hw.finish()
	})
}

// newNonce is a number of 128 bits in base64, which the upstream is told; "" if no
// policy wants one.
func (m *securityHeaders) newNonce(x *gateway.Exchange) string {
	if m.nonce == "" {
		return ""
	}
	var number [16]byte
	_, _ = rand.Read(number[:]) // never fails
	nonce := base64.StdEncoding.EncodeToString(number[:])
	x.SetUpstreamHeader(m.nonce, nonce)
	return nonce
}

// software are the headers that name the program that answers.
var software = []string{"Server", "X-Powered-By", "X-Aspnet-Version", "X-Aspnetmvc-Version"}

// answer edits the head of an answer.
func (m *securityHeaders) answer(h http.Header, secure bool, nonce string) {
	for _, line := range m.lines {
		m.set(h, line.name, line.values)
	}
	if secure && m.hsts != nil {
		m.set(h, "Strict-Transport-Security", m.hsts)
	}
	for _, p := range m.policies {
		if m.override || h[p.name] == nil {
			h[p.name] = []string{strings.ReplaceAll(p.text, nonceField, nonce)}
		}
	}
	if m.hide {
		for _, name := range software {
			delete(h, name)
		}
	}
}

func (m *securityHeaders) set(h http.Header, name string, values []string) {
	if m.override || h[name] == nil {
		h[name] = values
	}
}

func (m *securityHeaders) explain(_ *http.Request, x *gateway.Exchange) string {
	var names []string
	for _, line := range m.lines {
		names = append(names, line.name)
	}
	if m.hsts != nil && x.Scheme == "https" {
		names = append(names, "Strict-Transport-Security")
	}
	for _, p := range m.policies {
		names = append(names, p.name+" with a nonce")
	}
	verb := "sets what the upstream does not: "
	if m.override {
		verb = "sets "
	}
	text := verb + strings.Join(names, ", ")
	if len(names) == 0 {
		text = "sets nothing"
	}
	if m.hide {
		text += fmt.Sprintf("; removes %s", strings.Join(software, ", "))
	}
	return text
}
