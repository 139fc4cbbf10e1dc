package route

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/pithead/pithead/gateway/grammar"
)

// rule is a Rule, checked and compiled.
type rule struct {
	id        int // among the rules of its table, and of those made on top of it that have the rule
	hosts     []host
	methods   []string
	headers   []condition // canonical names
	query     []condition
	clients   networks
	listeners []string

	kind     kind
	shown    string         // the path as it was written
	path     string         // as matchPath has it; of a prefix without trailing slash
	segments []string       // of path, for templates with parameter in place of each parameter
	literals int            // how many literal characters a template or a prefix has
	mux      *mux.Route     // for templates
	call     *call          // for gRPC
	re       *regexp.Regexp // for expressions, and for templates that the index cannot decide alone
}

// compiler turns one Rule into a rule and collects its mistakes.
type compiler struct {
	*rule
	index int
	errs  RuleErrors
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
	c.headers = c.addConditions("headers", in.Headers)
	c.checkHeaders()
	c.query = c.addConditions("query", in.Query)
	for i, p := range in.Clients {
		if !p.IsValid() {
			c.fail(fmt.Sprintf("clients[%d]", i), errors.New("is no network"))
		}
	}
	c.clients, c.listeners = newNetworks(in.Clients), in.Listeners
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
	switch {
	case in.GRPC != nil && given > 0:
		c.fail("grpc", errors.New("a call of gRPC is matched by its service and method; leave path, prefix and path_regex out"))
	case in.GRPC != nil && len(in.Methods) > 0:
		c.fail("grpc", errors.New("calls of gRPC are POST; leave methods out"))
	case in.GRPC != nil:
		c.compileCall(in.GRPC)
	case given == 0:
		c.kind, c.shown, c.segments = prefix, "/", []string{""}
	}
}

func checkMethod(method string) error {
	if method == http.MethodConnect {
		return errors.New("CONNECT is never routed")
	}
	if !grammar.IsToken(method) {
		return fmt.Errorf("%q is no method", method)
	}
	return nil
}

// checkHeaders puts the names into the form that requests have.
func (c *compiler) checkHeaders() {
	for i := range c.headers {
		name := c.headers[i].name
		field, key := "headers."+name, http.CanonicalHeaderKey(name)
		switch {
		case !grammar.IsToken(name):
			c.fail(field, fmt.Errorf("%q is no header name", name))
		case key == "Host":
			c.fail(field, errors.New("the host is matched by host, not as a header"))
		case slices.ContainsFunc(c.headers[:i], func(before condition) bool { return before.name == key }):
			c.fail(field, fmt.Errorf("%q is given twice", key))
		}
		c.headers[i].name = key
	}
}

// accepts checks what the place in the index does not say already.
func (c *rule) accepts(q *lookup) bool {
	if c.re != nil && !c.re.MatchString(q.path) || c.call != nil && !c.call.matches(q.path) {
		return false
	}
	if !c.matchesMethod(q.Method) || !c.matchesListener(q.x.Listener) {
		return false
	}
	for i := range c.headers {
		if !c.headers[i].inHeader(q.Header) {
			return false
		}
	}
	for i := range c.query {
		if one := &c.query[i]; !one.inQuery(q.param(one.name)) {
			return false
		}
	}
	return len(c.clients) == 0 || c.clients.contain(q.x.Client)
}

func (c *rule) matchesMethod(method string) bool {
	if len(c.methods) == 0 {
		return method != http.MethodConnect && method != http.MethodTrace
	}
	return slices.Contains(c.methods, method)
}

func (c *rule) matchesListener(name string) bool {
	return len(c.listeners) == 0 || slices.Contains(c.listeners, name)
}
