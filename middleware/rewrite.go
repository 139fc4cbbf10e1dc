package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "rewrite", RewriteConfig{}, newRewrite)
}

// RewriteConfig asks the upstream for another path or host than the client asked
// for. Of path, prefix and regex it takes one. The query stays as it is.
//
//	rewrite: {prefix: /}
//
// Middlewares that come after it see the new path and host; the access log has
// what the client asked for. Answers are not rewritten: a Location or a cookie's
// path is as the upstream says. A request whose new path is not canonical, one with
// a dot segment for example, was made to get past the match, and gets 400.
type RewriteConfig struct {
	// Host is what the upstream gets as Host, with a port or without. A `host` of the
	// upstream itself comes after it and wins. X-Forwarded-Host still says what the
	// client asked for. Default: the client's.
	Host string `yaml:"host"`
	// Path is the new path, whatever the old one was. `{name}` in it is what the
	// parameter of that name has in the path of the route: with `match: {path: "/v1/orders/{id}"}`,
	// `path: "/orders/{id}/v2"` makes /orders/7/v2 of /v1/orders/7. A value stays encoded
	// as the client sent it. Quote such a path, since YAML takes a brace for a map.
	// Default: the client's.
	Path string `yaml:"path"`
	// Prefix takes the place of the prefix that the route matches, by whole
	// segments: with `match: {prefix: /api}`, `prefix: /v2` makes /v2/orders of /api/orders,
	// and `prefix: /` makes it /orders. Default: none.
	Prefix string `yaml:"prefix"`
	// Regex is a regular expression (RE2). Each of its matches in the path gives way
	// to `to`; a path without a match stays as it is. It matches anywhere; `^`
	// and `$` tie it to the ends. It sees the path in canonical form, in which what is
	// not ASCII is percent-encoded. Default: none.
	Regex string `yaml:"regex"`
	// To is what a match of `regex` becomes. `$1` is what its first group matched,
	// `$name` what (?P<name>...) did. Before a letter, a digit or _ that is written
	// `$${1}`, since a configuration takes `${` for the beginning of a variable, and a
	// dollar sign itself `$$$$`. Default: nothing, which cuts the match out.
	To string `yaml:"to"`
}

// Validate checks what can be checked without knowing the route.
func (c RewriteConfig) Validate() error {
	given := 0
	for _, setting := range []string{c.Path, c.Prefix, c.Regex} {
		if setting != "" {
			given++
		}
	}
	var errs []error
	switch {
	case given > 1:
		errs = append(errs, kind.At("", "give only one of path, prefix and regex"))
	case given == 0 && c.Host == "":
		errs = append(errs, kind.At("", "changes nothing; give host, path, prefix or regex"))
	}
	if c.Host != "" {
		if _, _, err := canon.Host(c.Host); err != nil {
			errs = append(errs, kind.At("host", "%q is no host", c.Host))
		}
	}
	return errors.Join(append(errs, validatePathTarget("path", c.Path), validateNewPath("prefix", c.Prefix), c.validateRegex())...)
}

// validateNewPath checks a path that requests are to get. "" is none.
func validateNewPath(at, path string) error {
	if path == "" {
		return nil
	}
	canonical, _, err := canon.Path(path, 0)
	switch {
	case err != nil:
		return kind.At(at, "%q cannot be the path of a request: %s", path, gateway.AsError(err).Msg)
	case canonical != path:
		return kind.At(at, "%q is not canonical; write %s", path, canonical)
	}
	return nil
}

func (c RewriteConfig) validateRegex() error {
	if c.Regex == "" {
		if c.To != "" {
			return kind.At("to", "is of no use without a regex")
		}
		return nil
	}
	re, err := regexp.Compile(c.Regex)
	if err != nil {
		return kind.At("regex", "%w", err)
	}
	return validateReplacement("to", c.To, re)
}

// validateReplacement finds references to groups that re does not have, which
// would silently be nothing, and text that no path can hold.
func validateReplacement(at, to string, re *regexp.Regexp) error {
	for _, ref := range reference.FindAllString(to, -1) {
		name := strings.Trim(ref, "${}")
		switch n, err := strconv.Atoi(name); {
		case ref == "$$":
		case ref == "$":
			return kind.At(at, "a dollar sign by itself is written $$$$")
		case err == nil && n <= re.NumSubexp(), err != nil && slices.Contains(re.SubexpNames(), name):
		default:
			return kind.At(at, "%s is no group of the regex%s", ref, hintOfGroup(name))
		}
	}
	// In the middle of a segment, for it may come to stand there.
	sample := "/x" + reference.ReplaceAllString(to, "x") + "x"
	if canonical, _, err := canon.Path(sample, 0); err != nil {
		return kind.At(at, "%q cannot be in the path of a request: %s", to, gateway.AsError(err).Msg)
	} else if canonical != sample {
		return kind.At(at, "%q makes paths that are not canonical: %s would be %s", to, sample, canonical)
	}
	return nil
}

// reference is what regexp.Expand takes for one.
var reference = regexp.MustCompile(`\$(\$|\w+|\{\w+\})?`)

// hintOfGroup helps who meant the first group, then an x, and wrote $1x.
func hintOfGroup(name string) string {
	digits := len(name) - len(strings.TrimLeft(name, "0123456789"))
	if digits == 0 || digits == len(name) {
		return ""
	}
	return fmt.Sprintf("; write $${%s}%s", name[:digits], name[digits:])
}

// pathEdit makes one path out of another. The zero value makes the same.
type pathEdit struct {
	whole  string // the new path
	target *pathTarget
	prefix *matchedPrefix
	regex  *regexp.Regexp
	to     string // what prefix or regex becomes
}

// newPathEdit makes an edit of a whole path or of the prefix that a route matches.
func newPathEdit(whole, prefix string, env Env) (pathEdit, error) {
	e := pathEdit{whole: whole}
	if strings.Contains(whole, "{") {
		var err error
		if e.target, err = newPathTarget(whole, env); err != nil {
			return e, kind.At("path", "%w", err)
		}
	}
	if prefix == "" {
		return e, nil
	}
	if env.Match.Prefix == "" {
		return e, kind.At("prefix", "there is no prefix to replace: route %q does not match by one prefix and nothing else", env.Route)
	}
	e.prefix, e.to = newMatchedPrefix(env.Match.Prefix), strings.TrimSuffix(prefix, "/")
	return e, nil
}

// apply is the new path of u, escaped, which need not be canonical.
func (e *pathEdit) apply(u *url.URL) string {
	path := u.EscapedPath()
	switch {
	case e.target != nil:
		return e.target.fill(path)
	case e.whole != "":
		return e.whole
	case e.regex != nil && e.regex.MatchString(path): // ReplaceAllString copies a path without a match
		return e.regex.ReplaceAllString(path, e.to)
	case e.prefix != nil:
		rest, ok := e.prefix.cut(path)
		switch {
		case !ok:
			return path
		case e.to == "" && rest == "":
			return "/"
		}
		return e.to + rest
	}
	return path
}

// matchedPrefix is the prefix of a route. It is found again in escaped paths by
// its number of segments, because one segment has several spellings.
type matchedPrefix struct {
	decoded  string // without a slash at the end
	segments int
}

func newMatchedPrefix(prefix string) *matchedPrefix {
	prefix = strings.TrimSuffix(prefix, "/")
	decoded, err := url.PathUnescape(prefix)
	if err != nil {
		decoded = prefix // the match has refused it
	}
	return &matchedPrefix{decoded, strings.Count(prefix, "/")}
}

// cut returns what comes after the prefix, "" or from a slash on. A path that an
// earlier rewrite has made need not have the prefix.
func (p *matchedPrefix) cut(path string) (rest string, ok bool) {
	end := 0
	for range p.segments {
		if end == len(path) {
			return "", false
		}
		if n := strings.IndexByte(path[end+1:], '/'); n >= 0 {
			end += 1 + n
		} else {
			end = len(path)
		}
	}
	head, err := url.PathUnescape(path[:end])
	return path[end:], err == nil && head == p.decoded
}

// rewrite is the running middleware.
type rewrite struct {
	host string // "" is the client's
	path pathEdit
}

func newRewrite(c RewriteConfig, env Env) (gateway.Step, error) {
	m := &rewrite{}
	if c.Host != "" {
		name, port, err := canon.Host(c.Host)
		if err != nil {
			return gateway.Step{}, kind.At("host", "%w", err)
		}
		if m.host = name; port != "" {
			m.host += ":" + port
		}
	}
	var err error
	if m.path, err = newPathEdit(c.Path, c.Prefix, env); err != nil {
		return gateway.Step{}, err
	}
	if c.Regex != "" {
		m.path.regex, m.path.to = regexp.MustCompile(c.Regex), c.To // Validate has compiled it
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

func (m *rewrite) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		changed, err := m.apply(r)
		if err != nil {
			gateway.Fail(w, r, err)
			return
		}
		// What a trusted proxy says of the host is passed on as it is.
		if x := gateway.ExchangeOf(r); m.host != "" && (!x.Trusted || len(r.Header["X-Forwarded-Host"]) != 1) {
			x.SetUpstreamHeader("X-Forwarded-Host", r.Host)
		}
		next.ServeHTTP(w, changed)
	})
}

// rewritten is a request that differs from another in its target, in one
// allocation. The access log holds on to the other.
type rewritten struct {
	r http.Request
	u url.URL
}

// apply returns the request to go on with.
func (m *rewrite) apply(r *http.Request) (*http.Request, error) {
	before := r.URL.EscapedPath()
	after := m.path.apply(r.URL)
	if after == before && m.host == "" {
		return r, nil
	}
	c := &rewritten{r: *r, u: *r.URL}
	c.r.URL = &c.u
	if after != before {
		if err := canon.Rewrite(&c.u, after); err != nil {
			return nil, err
		}
		c.r.RequestURI = c.u.RequestURI()
	}
	if m.host != "" {
		c.r.Host = m.host
	}
	return &c.r, nil
}

func (m *rewrite) explain(r *http.Request, x *gateway.Exchange) string {
	changed, err := m.apply(r)
	if err != nil {
		e := gateway.AsError(err)
		x.Status = e.Status
		return fmt.Sprintf("refuses with %d: %s", e.Status, e.Msg)
	}
	var does []string
	if before, after := r.URL.EscapedPath(), changed.URL.EscapedPath(); before != after {
		does = append(does, fmt.Sprintf("path %s becomes %s", before, after))
	} else {
		does = append(does, fmt.Sprintf("path %s stays", before))
	}
	if changed.Host != r.Host {
		does = append(does, fmt.Sprintf("host %s becomes %s", r.Host, changed.Host))
	}
	return strings.Join(does, ", ")
}
