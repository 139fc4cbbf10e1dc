package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "cors", CORSConfig{MaxAge: 5 * time.Second}, newCORS)
}

// CORSConfig lets the scripts of other sites use the route. It answers preflights by
// itself, with 200, and says in all other answers who may read them. What the
// upstream says of that is replaced.
//
//	cors:
//	  allow_origins: ["https://shop.example.com", "https://*.example.org"]
//	  allow_methods: [GET, PUT]
//	  allow_headers: [Content-Type]
//	  allow_credentials: true
//
// A preflight has no credentials, so the block stands before whatever asks for
// some; it is to be limited like any request, so limits stand before the block. If
// the route lists methods, OPTIONS must be one of them. Of an origin that is not
// allowed the answers say nothing, and its browser does the refusing: a request
// that needs no preflight still goes upstream.
type CORSConfig struct {
	// AllowOrigins are the sites that may, as `https://shop.example.com` or
	// `http://localhost:3000`; without a port it is the scheme's own. `https://*.example.com`
	// is all names below example.com, at any depth, `https://*` every name and IPv4
	// address. `*` alone is everybody, and cannot be had with allow_credentials. `"null"`,
	// in quotes, is what sandboxed frames and local files are: anybody can be that.
	// Required.
	AllowOrigins []string `yaml:"allow_origins"`
	// AllowMethods are the methods that they may use, or `*`. GET, HEAD and POST need no
	// permission. Default: none beside those.
	AllowMethods []string `yaml:"allow_methods"`
	// AllowHeaders are the request headers that they may set, or `*`. Browsers do not
	// count Authorization among `*` unless there is allow_credentials; list it beside.
	// Default: those that need no permission.
	AllowHeaders []string `yaml:"allow_headers"`
	// ExposeHeaders are the response headers that they may read, or `*` without
	// allow_credentials. Default: those that need no permission.
	ExposeHeaders []string `yaml:"expose_headers"`
	// AllowCredentials lets them send cookies and the like, that is, act in the name of
	// whoever visits them. Default: false.
	AllowCredentials bool `yaml:"allow_credentials"`
	// MaxAge is how long browsers remember the answer to a preflight, in whole seconds;
	// most of them not longer than 2h. Default: 5s.
	MaxAge time.Duration `yaml:"max_age"`
}

// anything is the wildcard of origins, methods and headers.
const anything = "*"

// Validate checks everything but the route.
func (c CORSConfig) Validate() error {
	var errs []error
	if len(c.AllowOrigins) == 0 {
		errs = append(errs, kind.At("", "allows nobody; list the sites that may use the route under allow_origins"))
	}
	for i, origin := range c.AllowOrigins {
		errs = append(errs, c.validateOrigin(fmt.Sprintf("allow_origins[%d]", i), origin))
	}
	for i, method := range c.AllowMethods {
		at := fmt.Sprintf("allow_methods[%d]", i)
		switch {
		case method == anything && len(c.AllowMethods) > 1:
			errs = append(errs, kind.At(at, "* is all methods; remove the others"))
		case !grammar.IsToken(method):
			errs = append(errs, kind.At(at, "%q is no method", method))
		case strings.ToUpper(method) != method:
			errs = append(errs, kind.At(at, "methods are written in capital letters: %s", strings.ToUpper(method)))
		}
	}
	for i, name := range c.AllowHeaders {
		errs = append(errs, validateName(fmt.Sprintf("allow_headers[%d]", i), name))
	}
	for i, name := range c.ExposeHeaders {
		at := fmt.Sprintf("expose_headers[%d]", i)
		if name == anything && c.AllowCredentials {
			errs = append(errs, kind.At(at, "with allow_credentials, browsers take * for the name of a header; list the names"))
		}
		errs = append(errs, validateName(at, name))
	}
	if c.MaxAge < 0 || c.MaxAge%time.Second != 0 {
		errs = append(errs, kind.At("max_age", "is no whole number of seconds"))
	}
	return errors.Join(errs...)
}

func (c CORSConfig) validateOrigin(at, origin string) error {
	switch {
	case origin != anything:
		if _, err := parseOrigin(origin); err != nil {
			return kind.At(at, "%w", err)
		}
	case c.AllowCredentials: // CVE-2018-20744
		return kind.At(at, "every site there is could act in the name of its visitors; list the sites, or remove allow_credentials")
	case len(c.AllowOrigins) > 1:
		return kind.At(at, "* is everybody; remove the others")
	}
	return nil
}

// cors is the running middleware. Answers share its lists.
type cors struct {
	origins     origins
	credentials bool
	methods     []string // value of the header; nil sends none
	headers     []string
	expose      []string
	maxAge      []string
	anyMethod   bool // is answered by naming the one that was asked for
	anyHeader   bool
}

func newCORS(c CORSConfig, env Env) (gateway.Step, error) {
	if m := env.Match.Methods; len(m) > 0 && !slices.Contains(m, http.MethodOptions) {
		return gateway.Step{}, kind.At("", "no preflight gets here: the route matches only %s; add OPTIONS", strings.Join(m, ", "))
	}
	m := &cors{
		origins: newOrigins(c.AllowOrigins), credentials: c.AllowCredentials,
		methods: headerList(c.AllowMethods), headers: headerList(c.AllowHeaders), expose: headerList(c.ExposeHeaders),
		maxAge: []string{strconv.FormatInt(int64(c.MaxAge/time.Second), 10)},
		// With credentials, browsers take * for a name.
		anyMethod: c.AllowCredentials && slices.Contains(c.AllowMethods, anything),
		anyHeader: c.AllowCredentials && slices.Contains(c.AllowHeaders, anything),
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

func headerList(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return []string{strings.Join(names, ", ")}
}

func (m *cors) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := m.allowed(r.Header["Origin"])
		if isPreflight(r) {
			m.preflight(w, r, origin)
			return
		}
		hw := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.answer(h, origin) }}
		next.ServeHTTP(hw, r)
		hw.finish()
	})
}

// isPreflight knows the requests by which browsers ask what a script may do (Fetch
// standard, "CORS-preflight request"). Other OPTIONS are for the upstream.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && r.Header.Get("Access-Control-Request-Method") != ""
}

var (
	everybody     = []string{anything}
	yes           = []string{"true"}
	varyOrigin    = []string{"Origin"}
	varyPreflight = []string{"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}
)

// allowed is the value of Access-Control-Allow-Origin for a request with these
// Origin headers; nil says nothing.
func (m *cors) allowed(origin []string) []string {
	switch {
	case len(origin) != 1:
		return nil
	case m.origins.all:
		return everybody
	case m.origins.match(origin[0]):
		return origin
	}
	return nil
}

// ofTheAnswer are headers that say what other sites may do. The gateway's word
// replaces that of the upstream, since browsers refuse two.
var ofTheAnswer = []string{
	"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
	"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age",
}

// answer edits the head of an answer.
func (m *cors) answer(h http.Header, origin []string) {
	for _, name := range ofTheAnswer {
		delete(h, name)
	}
	addVaryOrigin(h)
	m.permit(h, origin)
}

// permit says that scripts of origin may read the answer.
func (m *cors) permit(h http.Header, origin []string) {
	if origin == nil {
		return
	}
	h["Access-Control-Allow-Origin"] = origin
	if m.credentials {
		h["Access-Control-Allow-Credentials"] = yes
	}
	if m.expose != nil {
		h["Access-Control-Expose-Headers"] = m.expose
	}
}

// addVaryOrigin keeps caches from giving one site what was said to another.
func addVaryOrigin(h http.Header) {
	lines := h["Vary"]
	if lines == nil {
		h["Vary"] = varyOrigin
		return
	}
	if grammar.HasToken(lines, anything) || grammar.HasToken(lines, "Origin") {
		return
	}
	h["Vary"] = slices.Concat(lines, varyOrigin)
}

// maxRequestedHeaders bounds what a preflight may ask for, in bytes (CVE-2025-47908).
const maxRequestedHeaders = 4 << 10

// preflight answers a preflight.
func (m *cors) preflight(w http.ResponseWriter, r *http.Request, origin []string) {
	asked := 0
	for _, line := range r.Header["Access-Control-Request-Headers"] {
		asked += len(line)
	}
	if asked > maxRequestedHeaders {
		gateway.Fail(w, r, gateway.BadRequest("bad_preflight", "the preflight asks for too many headers"))
		return
	}
	goesNowhere(gateway.ExchangeOf(r))
	h := w.Header()
	h["Vary"] = varyPreflight
	if m.permit(h, origin); origin != nil {
		set(h, "Access-Control-Allow-Methods", m.methods)
		set(h, "Access-Control-Allow-Headers", m.headers)
		h["Access-Control-Max-Age"] = m.maxAge
		if m.anyMethod {
			set(h, "Access-Control-Allow-Methods", askedFor(r.Header["Access-Control-Request-Method"]))
		}
		if m.anyHeader {
			set(h, "Access-Control-Allow-Headers", askedFor(r.Header["Access-Control-Request-Headers"]))
		}
	}
	w.WriteHeader(http.StatusOK) // any 2xx will do for browsers, and some intermediaries know only this one
}

// set sets a header, or takes it away when there is no value.
func set(h http.Header, name string, values []string) {
	if values == nil {
		delete(h, name)
		return
	}
	h[name] = values
}

// askedFor is the list that a preflight asks for in good form; nil if there is none.
func askedFor(lines []string) []string {
	var names []string
	for name := range grammar.Elements(lines) {
		if !grammar.IsToken(name) {
			return nil
		}
		names = append(names, name)
	}
	return headerList(names)
}

func (m *cors) explain(r *http.Request, x *gateway.Exchange) string {
	origin := strings.Join(r.Header["Origin"], ", ")
	verdict := "does not allow"
	if m.allowed(r.Header["Origin"]) != nil {
		verdict = "allows"
	}
	switch {
	case isPreflight(r):
		goesNowhere(x)
		x.Status = http.StatusOK
		return fmt.Sprintf("answers the preflight with 200 and %s %q", verdict, origin)
	case origin == "":
		return "sets nothing but Vary: there is no Origin"
	}
	return fmt.Sprintf("%s %q to read the answer", verdict, origin)
}
