package openapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/pithead/pithead/gateway"
)

// parameter is a compiled parameter.
type parameter struct {
	name, in string
	required bool
	schema   *schema
	json     bool   // its value is a text of JSON
	split    string // between the values of a list; "" for a parameter that comes again
	deep     bool   // name[member]=value
	explode  bool
	index    int // of a path parameter among the variables
	fields   map[string]*schema
}

func (c *compiler) parameter(op *Operation, source *openapi3.Parameter) {
	p := &parameter{name: source.Name, in: source.In, required: source.Required, schema: c.compile(source.Schema), index: -1}
	for media, m := range source.Content {
		if isJSON(media) && m != nil {
			p.json, p.schema = true, c.compile(m.Schema)
		}
	}
	p.explode = source.Explode == nil && (source.Style == "" || source.Style == "form") && (p.in == "query" || p.in == "cookie") || source.Explode != nil && *source.Explode
	switch source.Style {
	case "", "form", "simple":
		if p.in == "header" || p.in == "path" || !p.explode {
			p.split = ","
		}
	case "spaceDelimited":
		p.split = " "
	case "pipeDelimited":
		p.split = "|"
	case "deepObject":
		p.deep = true
	default:
		c.errs = append(c.errs, fmt.Errorf("%s: parameter %q: the style %s is not supported; write simple, form, spaceDelimited, pipeDelimited or deepObject",
			c.place(source.Origin, op.Op.Origin), p.name, source.Style))
	}
	if p.explode && (source.Style == "spaceDelimited" || source.Style == "pipeDelimited") {
		p.split = ""
	}
	switch p.in {
	case openapi3.ParameterInPath:
		for i, name := range op.vars {
			if name == p.name {
				p.index = i
			}
		}
		if p.index < 0 {
			c.errs = append(c.errs, fmt.Errorf("%s: the path %s has no parameter {%s}", c.place(source.Origin, op.Op.Origin), op.Path, p.name))
			return
		}
	case openapi3.ParameterInQuery:
		c.queryNames(op, p)
	case openapi3.ParameterInHeader:
		// RFC: these three are said elsewhere in a document, and a parameter of the name has no effect.
		switch http.CanonicalHeaderKey(p.name) {
		case "Accept", "Content-Type", "Authorization":
			return
		}
	}
	op.parameters = append(op.parameters, p)
}

// queryNames enters which names of a query belong to p.
func (c *compiler) queryNames(op *Operation, p *parameter) {
	switch {
	case p.deep:
		op.prefixes = append(op.prefixes, p.name+"[")
	case p.explode && p.kind(typeObject):
		p.fields = p.schema.properties
		for name := range p.fields {
			op.query[name] = true
		}
		op.free = op.free || p.schema.additional == nil || !p.schema.additional.never
	default:
		op.query[p.name] = true
		op.query[p.name+"[]"] = p.kind(typeArray) && strings.HasSuffix(p.name, "[]")
	}
}

// kind says whether the schema asks for this type, and for no text instead.
func (p *parameter) kind(t types) bool { return p.schema != nil && p.schema.wants(t) }

// wants says whether s or a part of it asks for one of the types.
func (s *schema) wants(t types) bool { return s.asked(4)&t != 0 }

// asked are the types that s names, by itself or by its parts down to a depth.
func (s *schema) asked(depth int) types {
	if s.types != 0 || depth == 0 {
		return s.types
	}
	var t types
	for _, list := range [][]*schema{s.all, s.any, s.one} {
		for _, one := range list {
			t |= one.asked(depth - 1)
		}
	}
	return t
}

// Parameters holds the parameters of a request to the document. vars are those of Find.
func (op *Operation) Parameters(r *http.Request, vars []string) []gateway.Violation {
	query := r.URL.Query()
	var all []gateway.Violation
	for _, p := range op.parameters {
		c := checker{in: p.in, name: p.name}
		op.checkParameter(&c, p, r, query, vars)
		all = append(all, c.result()...)
	}
	if op.contract.opts.Strict && !op.free {
		for _, name := range sortedKeys(query) {
			if !op.query[name] && !hasPrefix(name, op.prefixes) {
				all = append(all, gateway.Violation{In: "query", Name: clip(name, 100), Detail: "is no parameter of this operation"})
			}
		}
	}
	return all[:min(len(all), maxViolations)]
}

// result is what there is to say in the end.
func (c *checker) result() []gateway.Violation {
	if c.steps > maxSteps {
		return append(c.out, gateway.Violation{In: c.in, Name: c.name, Detail: "takes too many steps to check"})
	}
	return c.out
}

func hasPrefix(name string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func sortedKeys(q url.Values) []string {
	m := make(map[string]any, len(q))
	for name := range q {
		m[name] = nil
	}
	return sortedNames(m)
}

func (op *Operation) checkParameter(c *checker, p *parameter, r *http.Request, query url.Values, vars []string) {
	var values []string
	switch p.in {
	case openapi3.ParameterInPath:
		values = []string{vars[p.index]}
	case openapi3.ParameterInHeader:
		values = r.Header.Values(p.name)
	case openapi3.ParameterInCookie:
		for _, cookie := range r.CookiesNamed(p.name) {
			values = append(values, cookie.Value)
		}
	default:
		if p.deep || p.fields != nil {
			c.members(p, query)
			return
		}
		values = query[p.name]
	}
	if len(values) == 0 {
		if p.required {
			c.fail("is missing")
		}
		return
	}
	if p.schema == nil {
		return
	}
	if p.json {
		v, err := Decode([]byte(values[0]), op.contract.opts.MaxDepth)
		if err != nil || len(values) > 1 {
			c.fail("must be one JSON value")
			return
		}
		c.check(p.schema, v)
		return
	}
	v, ok := p.read(values)
	if !ok {
		c.fail("must be given once")
		return
	}
	c.check(p.schema, v)
}

// read makes a value of the texts of a parameter.
func (p *parameter) read(values []string) (any, bool) {
	switch {
	case p.kind(typeArray):
		if p.split != "" && (len(values) == 1 || p.in == "header") {
			values = strings.Split(strings.Join(values, p.split), p.split)
		}
		list := make([]any, len(values))
		for i, text := range values {
			if p.in == "header" {
				text = strings.TrimSpace(text)
			}
			list[i] = scalar(p.schema.items, text)
		}
		return list, true
	case p.kind(typeObject) && len(values) == 1:
		return p.object(values[0]), true
	case len(values) > 1:
		return nil, false // readers differ about which one counts
	}
	return scalar(p.schema, values[0]), true
}

// object reads a=1,b=2 or a,1,b,2.
func (p *parameter) object(text string) any {
	members := map[string]any{}
	list := strings.Split(text, ",")
	for i := 0; i < len(list); i++ {
		name, value, _ := strings.Cut(list[i], "=")
		if !p.explode && i+1 < len(list) {
			i++
			value = list[i]
		}
		members[name] = scalar(p.schema.properties[name], value)
	}
	return members
}

// members checks an object whose members are parameters of their own.
func (c *checker) members(p *parameter, query url.Values) {
	members := map[string]any{}
	for key, values := range query {
		name := key
		if p.deep {
			inner, ok := strings.CutPrefix(key, p.name+"[")
			if !ok || !strings.HasSuffix(inner, "]") {
				continue
			}
			name = strings.TrimSuffix(inner, "]")
		} else if p.fields[name] == nil {
			continue
		}
		var one *schema
		if p.schema != nil {
			if one = p.schema.properties[name]; one == nil {
				one = p.schema.additional
			}
		}
		if one != nil && one.wants(typeArray) {
			inner := parameter{schema: one}
			members[name], _ = inner.read(values)
			continue
		}
		if len(values) > 1 {
			c.fail("%s must be given once", clip(name, 40))
			continue
		}
		members[name] = scalar(one, values[0])
	}
	if len(members) == 0 {
		if p.required {
			c.fail("is missing")
		}
		return
	}
	if p.schema != nil {
		c.check(p.schema, members)
	}
}

// scalar is what a text means where this schema stands. A text that is no number
// stays a text, and is then of the wrong type.
func scalar(s *schema, text string) any {
	if s == nil {
		return text
	}
	wants := s.asked(4)
	switch {
	case wants&(typeNumber|typeInteger) != 0 && isNumber(text):
		return json.Number(text)
	case wants&typeBoolean != 0 && (text == "true" || text == "false"):
		return text == "true"
	}
	return text
}

func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') && json.Valid([]byte(text))
}
