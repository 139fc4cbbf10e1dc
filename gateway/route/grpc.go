package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/pace"
)

// call is what a rule says of gRPC calls.
type call struct{ service, method callName }

// callName is a Name, compiled.
type callName struct {
	text string
	re   *regexp.Regexp
}

// The names that protocol buffers allow.
var (
	serviceForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
	methodForm  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// compileCall fills in which calls the rule is for. Explain compares paths
// segment by segment, hence the segments.
func (c *compiler) compileCall(in *GRPC) {
	c.kind, c.call, c.methods = rpc, new(call), []string{http.MethodPost}
	c.call.service = c.callName("grpc.service", in.Service, serviceForm, "a service is written with its package, such as orders.v1.Orders")
	c.call.method = c.callName("grpc.method", in.Method, methodForm, "a method is written without its service, such as GetOrder")
	c.shown = c.call.String()
	c.segments = []string{parameter, parameter}
	if c.call.service.class() == 0 {
		c.segments[0] = c.call.service.text
	}
	if c.call.method.class() == 0 {
		c.segments[1] = c.call.method.text
	}
}

func (c *compiler) callName(field string, in Name, form *regexp.Regexp, hint string) callName {
	switch {
	case in.Exact != "" && in.Regex != "":
		c.fail(field, errors.New("only one of a name and a regular expression can be given"))
	case in.Regex != "":
		re, err := wholeRegex(in.Regex)
		c.fail(field, err)
		return callName{in.Regex, re}
	case in.Exact != "" && !form.MatchString(in.Exact):
		c.fail(field, fmt.Errorf("%q is no name; %s", in.Exact, hint))
	}
	return callName{text: in.Exact}
}

// isCall says whether a request is what gRPC sends.
func isCall(r *http.Request) bool { return r.Method == http.MethodPost && gateway.IsGRPC(r) }

// splitCall takes the path of a call apart. The method comes after the last
// slash, as in the servers of gRPC.
func splitCall(path string) (service, method string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i <= 1 || i+1 == len(path) {
		return "", "", false
	}
	return path[1:i], path[i+1:], true
}

// class orders names: given, by expression, any.
func (n callName) class() int {
	switch {
	case n.text == "":
		return 2
	case n.re != nil:
		return 1
	default:
		return 0
	}
}

func (n callName) matches(name string) bool {
	if n.re != nil {
		return n.re.MatchString(name)
	}
	return n.text == "" || n.text == name
}

func (n callName) String() string {
	switch n.class() {
	case 0:
		return n.text
	case 1:
		return "~" + n.text
	default:
		return "*"
	}
}

func (n callName) compare(other callName) int {
	return cmp.Or(
		cmp.Compare(n.class(), other.class()),
		cmp.Compare(len(other.text), len(n.text)),
		cmp.Compare(n.text, other.text),
	)
}

func (c *call) String() string { return c.service.String() + "/" + c.method.String() }

func (c *call) compare(other *call) int {
	return cmp.Or(c.service.compare(other.service), c.method.compare(other.method))
}

// matches is for the path of something that is a call. A rule for all calls
// takes any.
func (c *call) matches(path string) bool {
	if c.service.text == "" && c.method.text == "" {
		return true
	}
	service, method, ok := splitCall(path)
	return ok && c.service.matches(service) && c.method.matches(method)
}

// calls is the index of the rules for gRPC of one host. Its parts are searched
// in the order in which they stand here, which is that of precedence.
type calls struct {
	services map[string]*callService
	patterns []*entry // services by expression
	rest     callService
}

// callService are the rules for one service, or for any.
type callService struct {
	methods map[string]shelf
	rest    shelf // methods by expression, then any
}

func (c *calls) add(e *entry) {
	switch s := e.call.service; s.class() {
	case 0:
		if c.services == nil {
			c.services = make(map[string]*callService)
		}
		if c.services[s.text] == nil {
			c.services[s.text] = new(callService)
		}
		c.services[s.text].add(e)
	case 1:
		c.patterns = append(c.patterns, e)
	default:
		c.rest.add(e)
	}
}

func (s *callService) add(e *entry) {
	if m := e.call.method; m.class() == 0 {
		s.methods = file(s.methods, m.text, e)
		return
	}
	s.rest.add(e)
}

func (c *calls) finish(p *pace.Pacer) {
	c.rest.finish(p)
	for _, s := range c.services {
		s.finish(p)
	}
}

func (s *callService) finish(p *pace.Pacer) {
	finishAll(s.methods, p)
	s.rest.finish(p)
}

func (c *calls) find(q *lookup) *entry {
	service, method, _ := splitCall(q.path) // without a name only rules for all calls are found
	if s := c.services[service]; s != nil {
		if e := s.find(q, method); e != nil {
			return e
		}
	}
	if e := nearest(c.patterns, q, nil); e != nil {
		return e
	}
	return c.rest.find(q, method)
}

func (s *callService) find(q *lookup, method string) *entry {
	if e := s.methods[method].find(q, nil); e != nil {
		return e
	}
	return s.rest.find(q, nil)
}
