package middleware

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

func init() {
	kind.Add(Kinds, "api_key", APIKeyConfig{In: []APIKeyPlace{{Header: "x-api-key"}}, Realm: "api"}, newAPIKey)
}

// APIKeyConfig lets through who shows a key that is listed, in the block or in a
// file. The subject of the key is then proven for what comes after the block in `use`.
//
//	api_key:
//	  keys:
//	    - {id: shop, sha256: 43914f345f0e46916316feb87e147dc0c50c1978065ce5d365ac8ab1e205d8d6, meta: {plan: gold}}
//	  headers: {x-plan: plan}
//
// Only digests of keys are kept: `printf %s "$KEY" | sha256sum`. One round of SHA-256
// is enough for keys that nobody can guess, such as those of `openssl rand -hex 32`,
// and would not be for words that people think up; for these there is `basic_auth`.
//
// A request without a key, or with one that is unknown or expired, gets a 401; one
// with two keys, in one place or in several, a 400. The key goes no further.
type APIKeyConfig struct {
	// In are the places where a key may stand. Default: the header x-api-key.
	In []APIKeyPlace `yaml:"in,one"`
	// Keys are listed here, beside those of the file. Default: none.
	Keys []APIKey `yaml:"keys"`
	// File has one key in each line, as JSON with the settings of `keys`, as in
	// `{"id": "shop", "sha256": "4391...", "meta": {"plan": "gold"}}`; lines that begin
	// with # are comments. The configuration is reloaded when it changes, and one
	// with a mistake is refused. At most 8MiB. Default: none.
	File kind.Path `yaml:"file"`
	// Headers tell the upstream about the key: `id`, `subject`, or an entry of `meta`,
	// under the name of a header. Nobody else can set these headers, on any route; a
	// key without the entry has none. Default: none.
	Headers map[string]string `yaml:"headers"`
	// Realm is what the challenge of a 401 says that the key is for. Default: api.
	Realm string `yaml:"realm"`
	// Forward passes the key on to the upstream. Default: false.
	Forward bool `yaml:"forward"`
}

// APIKeyPlace is a header or a query parameter.
type APIKeyPlace struct {
	// Header is the name of a header. Default: none.
	Header string `yaml:"header"`
	// Scheme is the word before the key in the header, as in `{header: authorization,
	// scheme: Bearer}`. A value with another scheme is no key. Default: none.
	Scheme string `yaml:"scheme"`
	// Query is the name of a query parameter. Addresses are stored in many places, so a
	// header is better; the name must be one whose values the access log hides, such
	// as api_key, key or access_token. Default: none.
	Query string `yaml:"query"`
}

// Validate wants one place that a key can be found in.
func (p APIKeyPlace) Validate() error {
	switch {
	case (p.Header == "") == (p.Query == ""):
		return kind.At("", "give either header or query")
	case p.Query != "" && p.Scheme != "":
		return kind.At("scheme", "is only for headers")
	case p.Query != "" && !obs.Redacts(p.Query):
		return kind.At("query", "the access log would show the keys, since it cannot know that %q holds any; use a name such as api_key, key or access_token", p.Query)
	case p.Header != "" && !grammar.IsToken(p.Header):
		return validateName("header", p.Header)
	case p.Scheme != "" && !grammar.IsToken(p.Scheme):
		return kind.At("scheme", "%q is no scheme; write for example Bearer", p.Scheme)
	case p.Header != "":
		return readable("header", p.Header)
	}
	return nil
}

func (p APIKeyPlace) String() string {
	switch {
	case p.Query != "":
		return "the query parameter " + p.Query
	case p.Scheme != "":
		return http.CanonicalHeaderKey(p.Header) + " (" + p.Scheme + ")"
	}
	return http.CanonicalHeaderKey(p.Header)
}

// Files implements kind.Filer.
func (c APIKeyConfig) Files() []string { return filesOf(c.File) }

func filesOf(path kind.Path) []string {
	if path == "" {
		return nil
	}
	return []string{string(path)}
}

// Validate checks everything but the file.
func (c APIKeyConfig) Validate() error {
	var errs []error
	if len(c.Keys) == 0 && c.File == "" {
		errs = append(errs, kind.At("", "knows no key; list some under keys, or name a file"))
	}
	if len(c.In) == 0 {
		errs = append(errs, kind.At("in", "names no place where a key may stand"))
	}
	for i, p := range c.In {
		if slices.ContainsFunc(c.In[:i], p.same) {
			errs = append(errs, kind.At(fmt.Sprintf("in[%d]", i), "stands here a second time"))
		}
	}
	errs = append(errs, validateRealm(c.Realm))
	for _, name := range sortedKeys(c.Headers) {
		at := "headers." + name
		errs = append(errs, validateHeaderName(at, name))
		if c.Headers[name] == "" {
			errs = append(errs, kind.At(at, "wants id, subject, or the name of an entry of meta"))
		}
		if slices.ContainsFunc(c.In, APIKeyPlace{Header: name}.same) {
			errs = append(errs, kind.At(at, "the key itself stands in this header"))
		}
	}
	return errors.Join(errs...)
}

func (p APIKeyPlace) same(q APIKeyPlace) bool {
	return strings.EqualFold(p.Header, q.Header) && p.Query == q.Query
}

// validateRealm checks what stands in quotes in a challenge.
func validateRealm(realm string) error {
	if realm == "" || !isVisible(realm) || strings.ContainsAny(realm, `"\`) {
		return kind.At("realm", "%q is no realm; write ASCII without quotes and backslashes", realm)
	}
	return nil
}

// isVisible says whether s is printable ASCII, and arrives as it is in a header.
func isVisible(s string) bool {
	return strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// apiKey is the running middleware.
type apiKey struct {
	in        []apiKeyPlace
	table     *apiKeyTable
	headers   []apiKeyHeader
	forward   bool
	challenge string
	where     string // the places, for people
}

// apiKeyHeader is a header with what of a key it tells.
type apiKeyHeader struct{ name, entry string }

func newAPIKey(c APIKeyConfig, env Env) (gateway.Step, error) {
	table, err := apiKeysOf(c, env)
	if err != nil {
		return gateway.Step{}, err
	}
	m := &apiKey{table: table, forward: c.Forward}
	scheme, where := "ApiKey", make([]string, len(c.In))
	for i, p := range c.In {
		if i == 0 && p.Scheme != "" {
			scheme = p.Scheme
		}
		where[i] = p.String()
		m.in = append(m.in, newAPIKeyPlace(p))
	}
	m.where, m.challenge = strings.Join(where, " or "), scheme+` realm="`+c.Realm+`"`
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, Proves: []gateway.Identity{gateway.Subject}}
	for _, name := range sortedKeys(c.Headers) {
		m.headers = append(m.headers, apiKeyHeader{http.CanonicalHeaderKey(name), c.Headers[name]})
		step.Owns = append(step.Owns, http.CanonicalHeaderKey(name))
	}
	return step, nil
}

// apiKeysOf makes the table of a block. Blocks and reloads share one for equal
// lists, because a file can be long and used by many routes.
func apiKeysOf(c APIKeyConfig, env Env) (*apiKeyTable, error) {
	if c.File == "" {
		return newAPIKeyTable(c.Keys, "", nil)
	}
	text, err := readAccounts(string(c.File))
	if err != nil {
		return nil, kind.At("file", "%w", err)
	}
	if len(c.Keys) > 0 {
		return newAPIKeyTable(c.Keys, string(c.File), text)
	}
	return keep.Get(env.Keep, fileKey("api_key", string(c.File), text), func() (*apiKeyTable, error) {
		return newAPIKeyTable(nil, string(c.File), text)
	})
}

func (m *apiKey) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		key, err := m.prove(r)
		if err != nil {
			gateway.Fail(w, r, err)
			return
		}
		m.tell(x, key)
		if !m.forward {
			r = m.hide(r, x)
		}
		next.ServeHTTP(w, r)
	})
}

// prove finds out which of the keys r shows.
func (m *apiKey) prove(r *http.Request) (*tableKey, *gateway.Error) {
	shown, count := "", 0
	for i := range m.in {
		value, n := m.in[i].find(r)
		if n > 0 {
			shown = value
		}
		count += n
	}
	switch {
	case count == 0:
		return nil, m.refuse("no_api_key", "an API key is required")
	case count > 1:
		return nil, gateway.BadRequest("several_api_keys", "more than one API key was sent")
	}
	key, ok := m.table.find(shown)
	switch {
	case !ok:
		return nil, m.refuse("bad_api_key", "the API key is not known")
	case !key.notAfter.IsZero() && !time.Now().Before(key.notAfter):
		return nil, m.refuse("api_key_expired", "the API key has expired")
	}
	return key, nil
}

func (m *apiKey) refuse(reason, msg string) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusUnauthorized, Reason: reason, Msg: msg, Cause: gateway.CauseClient, Challenge: m.challenge,
	}
}

// tell says to later steps and to the upstream whose key it is.
func (m *apiKey) tell(x *gateway.Exchange, key *tableKey) {
	x.Subject = key.subject
	for _, h := range m.headers {
		if value, ok := key.told[h.entry]; ok {
			x.SetUpstreamHeader(h.name, value)
		}
	}
}

// hide keeps the key from going upstream.
func (m *apiKey) hide(r *http.Request, x *gateway.Exchange) *http.Request {
	for i := range m.in {
		r = m.in[i].hide(r, x)
	}
	return r
}

func (m *apiKey) explain(r *http.Request, x *gateway.Exchange) string {
	key, err := m.prove(r)
	if err != nil {
		x.Status = err.Status
		return fmt.Sprintf("answers %d: %s (looks for a key in %s)", err.Status, err.Msg, m.where)
	}
	m.tell(x, key)
	does := []string{fmt.Sprintf("the key %q proves the subject %q", key.told["id"], key.subject)}
	for _, h := range m.headers {
		if _, ok := key.told[h.entry]; ok {
			does = append(does, "sets "+h.name)
		}
	}
	return strings.Join(does, ", ")
}

// toldOf are the facts about a key that headers may tell.
func toldOf(k APIKey) map[string]string {
	told := maps.Clone(k.Meta)
	if told == nil {
		told = make(map[string]string, 2)
	}
	told["id"], told["subject"] = k.ID, k.subject()
	return told
}
