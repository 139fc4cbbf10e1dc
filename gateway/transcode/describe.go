package transcode

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Describe makes the OpenAPI 3.1 document of what the table takes, from the
// descriptors. It can be read again: Bind with it gives calls that behave like those
// of t, but that parameters of a query have one name and not two. auth are the kinds of middlewares that ask who is calling.
//
// A variable that goes over several segments has a parameter for each of them;
// one without an end (**) is written as a single parameter, which is as much as
// OpenAPI can say.
func (t *Table) Describe(title string, auth []string) ([]byte, error) {
	d := &describer{t: t, schemas: map[string]any{"Problem": problemSchema}, ids: make(map[string]bool), names: make(map[string][]string)}
	paths := make(map[string]any)
	for _, c := range t.Bindings {
		path, op := d.operation(c)
		item, ok := paths[path].(map[string]any)
		if !ok {
			item = make(map[string]any)
			paths[path] = item
		}
		item[strings.ToLower(c.HTTPMethod)] = op
	}
	components := map[string]any{"schemas": d.schemas}
	doc := map[string]any{
		"openapi": "3.1.0", "info": map[string]any{"title": cmp.Or(title, "API"), "version": "1"},
		"servers": []any{map[string]any{"url": cmp.Or(t.base, "/")}}, "paths": paths, "components": components,
	}
	if schemes, wants := security(auth); len(schemes) > 0 {
		components["securitySchemes"], doc["security"] = schemes, []any{wants}
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("describe: %w", err)
	}
	return append(text, '\n'), nil
}

var problemSchema = map[string]any{
	"type": "object", "description": "RFC 9457, with the code and the details of gRPC.",
	"properties": map[string]any{
		"type": map[string]any{"type": "string"}, "title": map[string]any{"type": "string"}, "status": map[string]any{"type": "integer"},
		"detail": map[string]any{"type": "string"}, "code": map[string]any{"type": "string"}, "reason": map[string]any{"type": "string"},
		"request_id": map[string]any{"type": "string"}, "details": map[string]any{"type": "array", "items": map[string]any{"type": "object"}},
	},
}

// security says how callers prove who they are, for kinds that need nothing but a name.
func security(auth []string) (schemes, wants map[string]any) {
	schemes, wants = make(map[string]any), make(map[string]any)
	for _, kind := range auth {
		switch kind {
		case "jwt", "oauth2_introspection":
			schemes[kind] = map[string]any{"type": "http", "scheme": "bearer"}
		case "basic_auth":
			schemes[kind] = map[string]any{"type": "http", "scheme": "basic"}
		case "mtls":
			schemes[kind] = map[string]any{"type": "mutualTLS"}
		default:
			continue
		}
		wants[kind] = []any{}
	}
	return schemes, wants
}

type describer struct {
	t       *Table
	schemas map[string]any
	ids     map[string]bool
	names   map[string][]string // of path parameters, by the shape of the path
}

func (d *describer) operation(c *Call) (path string, op map[string]any) {
	path, params, expanded := d.path(c)
	op = map[string]any{"tags": []any{string(c.RPC.Parent().FullName())}, "responses": d.responses(c)}
	id := string(c.RPC.Parent().Name()) + "_" + string(c.RPC.Name())
	if expanded {
		// The annotation binds it: its path says what belongs together.
		id = string(c.RPC.FullName()) + ".path"
	} else {
		op["x-grpc-method"] = pathOf(c.RPC)[1:]
	}
	for i, base := 2, id; d.ids[id]; i++ {
		id = fmt.Sprintf("%s_%d", base, i)
	}
	d.ids[id] = true
	op["operationId"] = id
	if text := commentOf(c.RPC); text != "" {
		op["summary"], _, _ = strings.Cut(text, "\n")
		op["description"] = text
	}
	if o, ok := c.RPC.Options().(*descriptorpb.MethodOptions); ok && o.GetDeprecated() {
		op["deprecated"] = true
	}
	switch client, server := c.RPC.IsStreamingClient(), c.RPC.IsStreamingServer(); {
	case client && server:
		op["x-stream"] = "both"
	case client:
		op["x-stream"] = "client"
	case server:
		op["x-stream"] = "server"
	}
	if params = append(params, d.parameters(c)...); len(params) > 0 {
		op["parameters"] = params
	}
	if c.Body != "" {
		op["requestBody"] = d.requestBody(c)
		if c.Body != whole {
			op["x-grpc-body"] = c.Body
		}
	}
	if c.ResponseBody != "" {
		op["x-grpc-response-body"] = c.ResponseBody
	}
	return path, op
}

// path is the template behind the base path in the words of OpenAPI, with its
// parameters. Paths that match the same are one path in OpenAPI: they share the names
// of the first. expanded says that some field has several parameters.
func (d *describer) path(c *Call) (path string, params []any, expanded bool) {
	rel := strings.TrimPrefix(c.template.text, d.t.base)
	shape := c.template.shape()
	names, known := d.names[shape]
	var b strings.Builder
	add := func(name string, p map[string]any) {
		if i := len(params); known && i < len(names) {
			name = names[i]
		} else {
			names = append(names, name)
		}
		if p == nil {
			p = map[string]any{"in": "path", "required": true, "schema": map[string]any{"type": "string"}}
		} else if field, ok := p["x-grpc-field"].(string); !ok && p["name"] != name || ok && field != name {
			p["x-grpc-field"] = cmp.Or(field, fmt.Sprint(p["name"]))
		}
		p["name"] = name
		b.WriteString("{" + name + "}")
		params = append(params, p)
	}
	for variable := 0; rel != ""; variable++ {
		before, rest, has := strings.Cut(rel, "{")
		b.WriteString(before)
		if !has {
			break
		}
		inner, after, _ := strings.Cut(rest, "}")
		name, pattern, _ := strings.Cut(inner, "=")
		rel = after
		if !strings.Contains(pattern, "/") {
			p := c.path[variable]
			add(name, d.parameter(name, "path", p.path, p.field.Descriptor(), false))
			continue
		}
		expanded = true
		for i, part := range strings.Split(pattern, "/") {
			if i > 0 {
				b.WriteByte('/')
			}
			if part != "*" && part != "**" {
				b.WriteString(part)
				continue
			}
			add(fmt.Sprintf("%s_%d", name, i+1), nil)
		}
	}
	d.names[shape] = names
	return b.String(), params, expanded
}

// parameters are those that are not in the path.
func (d *describer) parameters(c *Call) (all []any) {
	add := func(p *param, in string) {
		all = append(all, d.parameter(p.name, in, p.path, p.field.Descriptor(), p.split == ","))
	}
	if c.anyQuery {
		bound := map[string]bool{c.Body: true}
		for _, p := range c.path {
			bound[p.path] = true
		}
		d.fields(c.RPC.Input(), "", bound, nil, &all)
		return all
	}
	for _, name := range slices.Sorted(maps.Keys(c.query)) {
		add(c.query[name], "query")
	}
	for _, p := range c.header {
		add(p, "header")
	}
	for _, p := range c.cookie {
		add(p, "cookie")
	}
	return all
}

func (d *describer) parameter(name, in, path string, fd protoreflect.FieldDescriptor, comma bool) map[string]any {
	p := map[string]any{"name": name, "in": in, "schema": d.field(fd)}
	if in == "path" {
		p["required"] = true
	}
	if path != name {
		p["x-grpc-field"] = path
	}
	switch {
	case in != "query":
	case fd.IsMap():
		p["style"], p["explode"] = "deepObject", true
	case fd.IsList() && comma:
		p["explode"] = false
	}
	if text := commentOf(fd); text != "" {
		p["description"] = text
	}
	return p
}

// fields are the parameters of a query that may name any field: those within messages
// by their paths.
func (d *describer) fields(md protoreflect.MessageDescriptor, prefix string, bound map[string]bool, within []protoreflect.FullName, all *[]any) {
	if slices.Contains(within, md.FullName()) || len(within) > 4 {
		return
	}
	within = append(slices.Clone(within), md.FullName())
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		name := prefix + d.name(fd)
		if bound[name] || bound[prefix+string(fd.Name())] || bound[prefix+fd.JSONName()] {
			continue
		}
		inner := fd.Message()
		switch {
		case inner == nil || fd.IsMap() && fd.MapValue().Message() == nil || !fd.IsList() && !fd.IsMap() && scalarLike(inner.FullName()):
			*all = append(*all, d.parameter(name, "query", name, fd, false))
		case !fd.IsList() && !fd.IsMap() && wellKnown(inner.FullName()) == nil:
			d.fields(inner, name+".", bound, within, all)
		}
	}
}

func (d *describer) requestBody(c *Call) map[string]any {
	content := map[string]any{}
	switch {
	case c.rawBody:
		content["*/*"] = map[string]any{}
	case c.RPC.IsStreamingClient():
		content["application/x-ndjson"] = map[string]any{"schema": d.part(c.RPC.Input(), c.body)}
	default:
		content["application/json"] = map[string]any{"schema": d.part(c.RPC.Input(), c.body)}
	}
	return map[string]any{"content": content, "required": true}
}

func (d *describer) responses(c *Call) map[string]any {
	content := map[string]any{}
	if c.rawOut {
		content["*/*"] = map[string]any{}
	} else if schema := d.part(c.RPC.Output(), c.response); c.RPC.IsStreamingServer() {
		content["application/x-ndjson"] = map[string]any{"schema": schema}
		content["text/event-stream"] = map[string]any{"schema": schema}
		content["application/json"] = map[string]any{"schema": map[string]any{"type": "array", "items": schema}}
	} else {
		content["application/json"] = map[string]any{"schema": schema}
	}
	problem := map[string]any{"application/problem+json": map[string]any{"schema": ref("Problem")}}
	return map[string]any{
		fmt.Sprint(http.StatusOK): map[string]any{"description": cmp.Or(commentOf(c.RPC.Output()), string(c.RPC.Output().FullName())), "content": content},
		"default":                 map[string]any{"description": "What went wrong.", "content": problem},
	}
}

// commentOf is what the author wrote before an element, else behind it.
func commentOf(d protoreflect.Descriptor) string {
	loc := d.ParentFile().SourceLocations().ByDescriptor(d)
	return strings.TrimSpace(cmp.Or(loc.LeadingComments, loc.TrailingComments))
}
