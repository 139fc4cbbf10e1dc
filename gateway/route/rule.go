package route

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

// rule is a Rule, checked and compiled.
type rule struct {
	index   int
	hosts   []host
	methods []string
	headers []pair // canonical names
	query   []pair

	kind     kind
	shown    string         // the path as it was written
	path     string         // as matchPath has it; of a prefix without trailing slash
	segments []string       // of path, for templates with parameter in place of each parameter
	literals int            // how many literal characters a template or a prefix has
	route    *mux.Route     // for templates
	re       *regexp.Regexp // for expressions, and for templates that the index cannot decide alone
}

// pair is a header or query parameter that must be there.
type pair struct {
	name  string
	value string // "" is any
}

// compiler turns one Rule into a rule and collects its mistakes.
type compiler struct {
	*rule
	errs RuleErrors
}

func (c *compiler) fail(field string, err error) {
	if err != nil {
		c.errs = append(c.errs, &RuleError{Rule: c.index, Field: field, Err: err})
	}
}

func (c *compiler) compile(in Rule) {
	for i, text := range in.Hosts {
		h, err := parseHost(text)
		c.fail(fmt.Sprintf("hosts[%d]", i), err)
		if !slices.Contains(c.hosts, h) {
			c.hosts = append(c.hosts, h)
		}
	}
	if len(in.Hosts) == 0 {
		c.hosts = []host{{}}
	}
	c.anyPath(in)
	for i, method := range in.Methods {
		m := strings.ToUpper(method)
		c.fail(fmt.Sprintf("methods[%d]", i), checkMethod(m))
		if !slices.Contains(c.methods, m) {
			c.methods = append(c.methods, m)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Headers)) {
		c.addHeader(name, in.Headers[name])
	}
	for _, name := range slices.Sorted(maps.Keys(in.Query)) {
		c.query = append(c.query, pair{name, in.Query[name]})
	}
}

func (c *compiler) anyPath(in Rule) {
	given := 0
	for _, form := range []struct {
		field, text string
		compile     func(string) error
	}{
		{"path", in.Path, c.compilePath},
		{"prefix", in.Prefix, c.compilePrefix},
		{"path_regex", in.PathRegex, c.compileRegex},
	} {
		if form.text == "" {
			continue
		}
		if given++; given > 1 {
			c.fail(form.field, errors.New("only one of path, prefix and path_regex can be given"))
			continue
		}
		c.shown = form.text
		c.fail(form.field, form.compile(form.text))
	}
	if given == 0 {
		c.kind, c.shown, c.segments = prefix, "/", []string{""}
	}
}

func checkMethod(method string) error {
	if method == http.MethodConnect {
		return errors.New("CONNECT is never routed")
	}
	if !isToken(method) {
		return fmt.Errorf("%q is no method", method)
	}
	return nil
}

func (c *compiler) addHeader(name, value string) {
	field, key := "headers."+name, http.CanonicalHeaderKey(name)
	switch {
	case !isToken(name):
		c.fail(field, fmt.Errorf("%q is no header name", name))
	case key == "Host":
		c.fail(field, errors.New("the host is matched by host, not as a header"))
	case slices.ContainsFunc(c.headers, func(p pair) bool { return p.name == key }):
		c.fail(field, fmt.Errorf("%q is given twice", key))
	}
	c.headers = append(c.headers, pair{key, value})
}

// isToken says whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

// matchesRest checks what stands beside host and path.
func (c *rule) matchesRest(r *http.Request) bool {
	if !c.matchesMethod(r.Method) {
		return false
	}
	for _, p := range c.headers {
		if !p.inHeader(r.Header) {
			return false
		}
	}
	for _, p := range c.query {
		if value, ok := firstParam(r.URL.RawQuery, p.name); !ok || p.value != "" && !unescapesTo(value, p.value) {
			return false
		}
	}
	return true
}

func (c *rule) matchesMethod(method string) bool {
	if len(c.methods) == 0 {
		return method != http.MethodConnect && method != http.MethodTrace
	}
	return slices.Contains(c.methods, method)
}

func (p pair) inHeader(h http.Header) bool {
	values := h[p.name]
	return len(values) > 0 && (p.value == "" || slices.Contains(values, p.value))
}
