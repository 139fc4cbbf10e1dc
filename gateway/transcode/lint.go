package transcode

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The rules of Lint and Compare.
const (
	RuleUnmapped     = "unmapped_operation" // the document has it, no method does
	RuleNoOperation  = "no_operation"       // a method that no operation calls
	RuleTypeClash    = "type_clash"         // no value fits both sides
	RuleLossyNumber  = "lossy_number"       // some numbers of one side do not fit the other
	RuleRequired     = "required"           // the sides differ about what must be there
	RuleEnum         = "enum"               // the sides differ about the values
	RuleUnknownField = "unknown_field"      // the document has a member that the message has not
	RuleBreaking     = "breaking_change"    // clients or the stored bytes of an earlier version break
)

// Finding is something about a document and its descriptors that an author should
// know.
type Finding struct {
	Rule    string
	Error   bool // it cannot work; others work and may not be meant
	Pos     Position
	Message string
}

// String writes the finding as file:line:column: message (rule).
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (%s)", f.Pos, f.Message, f.Rule)
}

// direction is where a value goes.
type direction int

const (
	inParameter direction = iota
	inRequest
	inAnswer
)

type linter struct {
	t    *Table
	all  []Finding
	seen map[string]bool // pairs of schema and message, and findings
	at   Position        // of the operation
}

// Lint compares the document of a table with its descriptors. Tables without
// a document have nothing to compare.
func Lint(t *Table) []Finding {
	if t.Document == nil {
		return nil
	}
	l := &linter{t: t, seen: make(map[string]bool)}
	for _, op := range t.Unbound {
		l.find(RuleUnmapped, false, op.Pos, "%s %s names no method; clients get 404", op.Method, op.Path)
	}
	l.methods()
	for _, c := range t.Bindings {
		if c.Operation != nil {
			l.at = c.Pos
			l.call(c)
		}
	}
	return sorted(l.all)
}

func sorted(all []Finding) []Finding {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column), cmp.Compare(a.Message, b.Message))
	})
	return all
}

func (l *linter) find(rule string, isError bool, pos Position, format string, args ...any) {
	f := Finding{rule, isError, pos, fmt.Sprintf(format, args...)}
	if !l.seen[f.String()] {
		l.seen[f.String()] = true
		l.all = append(l.all, f)
	}
}

// infrastructure are services that gateways and tools talk to, not clients.
var infrastructure = []string{"grpc.reflection.", "grpc.health.", "grpc.channelz."}

func (l *linter) methods() {
	bound := make(map[protoreflect.FullName]bool)
	for _, c := range l.t.Bindings {
		bound[c.RPC.FullName()] = true
	}
	for _, sd := range l.t.Schema.Services() {
		if slices.ContainsFunc(infrastructure, func(p string) bool { return strings.HasPrefix(string(sd.FullName()), p) }) {
			continue
		}
		for i := range sd.Methods().Len() {
			if md := sd.Methods().Get(i); !bound[md.FullName()] {
				l.find(RuleNoOperation, false, positionOf(md), "no operation calls %s", md.FullName())
			}
		}
	}
}

func (l *linter) call(c *Call) {
	for _, p := range c.Operation.Parameters {
		if found := c.paramOf(p); found != nil && p.Schema != nil {
			l.field(p.Schema, found.field.Descriptor(), inParameter, p.Name)
		}
	}
	if body := c.Operation.Op.RequestBody; body != nil && body.Value != nil && !c.rawBody && c.Body != "" {
		for _, schema := range jsonOf(body.Value.Content) {
			if c.body != nil {
				l.field(schema, c.body.Descriptor(), inRequest, c.Body)
			} else {
				l.message(schema, c.RPC.Input(), inRequest)
			}
		}
	}
	for status, response := range c.Operation.Op.Responses.Map() {
		if !strings.HasPrefix(status, "2") || response == nil || response.Value == nil || c.rawOut || c.RPC.IsStreamingServer() {
			continue
		}
		for _, schema := range jsonOf(response.Value.Content) {
			if c.response != nil {
				l.field(schema, c.response.Descriptor(), inAnswer, c.ResponseBody)
			} else {
				l.message(schema, c.RPC.Output(), inAnswer)
			}
		}
	}
}

// paramOf is the field that a parameter of the document fills, or nil.
func (c *Call) paramOf(d *openapi3.Parameter) *param {
	path := fieldOf(d)
	for _, list := range [][]*param{c.path, c.header, c.cookie} {
		for _, p := range list {
			if p.path == path || strings.EqualFold(p.name, d.Name) {
				return p
			}
		}
	}
	return c.query[d.Name]
}

func jsonOf(content openapi3.Content) (schemas []*openapi3.SchemaRef) {
	for media, m := range content {
		if m != nil && m.Schema != nil && (strings.HasPrefix(media, "application/json") || strings.Contains(media, "+json")) {
			schemas = append(schemas, m.Schema)
		}
	}
	return schemas
}

// message compares an object with a message.
func (l *linter) message(ref *openapi3.SchemaRef, md protoreflect.MessageDescriptor, dir direction) {
	if ref == nil || ref.Value == nil {
		return
	}
	v := ref.Value
	key := fmt.Sprintf("%p %s %d", v, md.FullName(), dir)
	if l.seen[key] {
		return
	}
	l.seen[key] = true
	if own := wellKnown(md.FullName()); own != nil || md.FullName() == httpBody {
		l.known(v, md, dir)
		return
	}
	if !l.is(v, "object") {
		l.clash(v, "%s is a message, not %s", md.FullName(), typesOf(v))
		return
	}
	for _, part := range v.AllOf {
		l.message(part, md, dir)
	}
	for name, property := range v.Properties {
		fd := fieldByName(md, name)
		if fd == nil {
			l.unknown(property, v, name, md, dir)
			continue
		}
		l.field(property, fd, dir, name)
	}
	l.required(v, md, dir)
}

func (l *linter) unknown(property *openapi3.SchemaRef, v *openapi3.Schema, name string, md protoreflect.MessageDescriptor, dir direction) {
	if property != nil && property.Value != nil && (dir == inRequest && property.Value.ReadOnly || dir == inAnswer && property.Value.WriteOnly) {
		return
	}
	pos := l.place(v)
	if property != nil && property.Value != nil && property.Ref == "" {
		pos = l.place(property.Value)
	}
	switch {
	case dir == inAnswer && slices.Contains(v.Required, name):
		l.find(RuleUnknownField, true, pos, "%s is required of answers, but %s has no such field", name, md.FullName())
	case dir == inAnswer:
		l.find(RuleUnknownField, false, pos, "%s never comes: %s has no such field", name, md.FullName())
	case !l.t.opts.DiscardUnknown:
		l.find(RuleUnknownField, true, pos, "requests with %s are refused: %s has no such field", name, md.FullName())
	}
}

func (l *linter) required(v *openapi3.Schema, md protoreflect.MessageDescriptor, dir direction) {
	for _, name := range v.Required {
		fd := fieldByName(md, name)
		if dir == inAnswer && fd != nil && !l.t.opts.EmitDefaults && fd.Cardinality() != protoreflect.Required {
			l.find(RuleRequired, false, l.place(v), "%s is required, but answers leave it out when it has no value; emit_defaults writes zeros too", name)
		}
	}
	if dir != inRequest || len(v.AllOf) > 0 {
		return
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if fd.Cardinality() == protoreflect.Required && !slices.Contains(v.Required, fd.JSONName()) && !slices.Contains(v.Required, string(fd.Name())) {
			l.find(RuleRequired, false, l.place(v), "the service wants %s, which the document does not require", fd.Name())
		}
	}
}

func (l *linter) place(v *openapi3.Schema) Position {
	if p := l.t.Document.position(v.Origin); p.Line > 0 {
		return p
	}
	return l.at
}

func (l *linter) clash(v *openapi3.Schema, format string, args ...any) {
	l.find(RuleTypeClash, true, l.place(v), format, args...)
}

func (l *linter) lossy(v *openapi3.Schema, format string, args ...any) {
	l.find(RuleLossyNumber, false, l.place(v), format, args...)
}

// is says whether a schema may have one of the types. Without a type it may.
func (l *linter) is(v *openapi3.Schema, names ...string) bool {
	if v.Type == nil || len(*v.Type) == 0 {
		return true
	}
	return slices.ContainsFunc(*v.Type, func(t string) bool { return slices.Contains(names, t) })
}

func typesOf(v *openapi3.Schema) string { return strings.Join(*v.Type, " or ") }
