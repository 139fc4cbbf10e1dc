package transcode

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Options are what an operator may decide about a table.
type Options struct {
	// BasePath stands before all paths; nil takes that of the document's first server.
	BasePath *string

	MaxDepth       int  // of messages; 0 is 64
	DiscardUnknown bool // members of a body and parameters that no field has
	EmitDefaults   bool // fields without a value are written too
	ProtoNames     bool // fields are written with the names of the .proto file
	EnumNumbers    bool // enums are written as numbers
}

// Table is all calls of a route.
type Table struct {
	// Document is nil when the bindings come from annotations alone.
	Document *Document
	Schema   *Schema
	// Bindings are in the order of the document, or of services and methods.
	Bindings []*Call
	// Unbound are operations of the document that name no method.
	Unbound []*Operation

	router router
	opts   Options
	base   string
}

// Bind finds the method of each operation and prepares the calls. Without a
// document the operations are those of google.api.http annotations. All mistakes
// are told at once, each with its place.
func Bind(doc *Document, schema *Schema, o Options) (*Table, error) {
	if o.MaxDepth == 0 {
		o.MaxDepth = 64
	}
	t := &Table{Document: doc, Schema: schema, opts: o}
	rules, err := t.rules()
	if err != nil {
		return nil, err
	}
	if o.BasePath != nil {
		t.base = strings.TrimSuffix(*o.BasePath, "/")
	} else if doc != nil {
		if t.base, err = doc.BasePath(); err != nil {
			return nil, err
		}
	}
	var errs []error
	if doc != nil {
		byShape := t.byShape(rules, &errs)
		for _, op := range doc.Operations {
			errs = append(errs, t.bindOperation(op, byShape))
		}
	} else {
		for _, r := range rules {
			errs = append(errs, t.bindRule(r))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(t.Bindings) == 0 {
		return nil, t.nothing()
	}
	return t, nil
}

// nothing says what an operator could do about a table without calls.
func (t *Table) nothing() error {
	if t.Document == nil {
		return errors.New("no method has a google.api.http annotation; give an OpenAPI document")
	}
	return fmt.Errorf("%s: no operation names a gRPC method; write x-grpc-method: package.Service/Method, or an operationId like Service_Method", t.Document.File)
}

func (t *Table) rules() ([]rule, error) {
	var all []rule
	var errs []error
	for _, sd := range t.Schema.Services() {
		for i := range sd.Methods().Len() {
			rules, err := rulesOf(sd.Methods().Get(i))
			all, errs = append(all, rules...), append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

// byShape finds rules by what they match.
func (t *Table) byShape(rules []rule, errs *[]error) map[string]rule {
	m := make(map[string]rule, len(rules))
	for _, r := range rules {
		tmpl, err := parseTemplate(t.base, r.path)
		if err != nil {
			*errs = append(*errs, fmt.Errorf("%s: %s: %w", positionOf(r.rpc), r.rpc.FullName(), err))
			continue
		}
		m[r.method+" "+tmpl.shape()] = r
	}
	return m
}

func (t *Table) bindRule(r rule) error {
	pos := positionOf(r.rpc)
	tmpl, err := parseTemplate(t.base, r.path)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", pos, r.rpc.FullName(), err)
	}
	return t.enter(&Call{HTTPMethod: r.method, RPC: r.rpc, Body: r.body, ResponseBody: r.response, Pos: pos, template: tmpl})
}

func (t *Table) bindOperation(op *Operation, byShape map[string]rule) error {
	tmpl, err := parseTemplate(t.base, op.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", op.Pos, err)
	}
	c := &Call{HTTPMethod: op.Method, Operation: op, Pos: op.Pos, template: tmpl}
	if c.RPC, err = t.methodOf(op); err != nil {
		return err
	}
	if c.RPC == nil {
		r, ok := byShape[op.Method+" "+tmpl.shape()]
		if !ok {
			t.Unbound = append(t.Unbound, op)
			return nil
		}
		c.RPC, c.Body, c.ResponseBody = r.rpc, r.body, r.response
		if c.template, err = parseTemplate(t.base, r.path); err != nil {
			return fmt.Errorf("%s: %w", op.Pos, err)
		}
	} else if op.Op.RequestBody != nil {
		c.Body = "*"
	}
	for name, to := range map[string]*string{"x-grpc-body": &c.Body, "x-grpc-response-body": &c.ResponseBody} {
		text, ok, err := op.extension(name)
		if err != nil {
			return err
		}
		if ok {
			*to = text
		}
	}
	return t.enter(c)
}

// enter prepares a call and gives it its place.
func (t *Table) enter(c *Call) error {
	if err := c.compile(t); err != nil {
		return fmt.Errorf("%s: %s %s: %w", c.Pos, c.HTTPMethod, c.template.text, err)
	}
	if other := t.router.add(c); other != nil {
		return fmt.Errorf("%s: %s %s is ambiguous: %s, at %s, has the same path", c.Pos, c.HTTPMethod, c.template.text, other.RPC.FullName(), other.Pos)
	}
	t.Bindings = append(t.Bindings, c)
	return nil
}

// methodOf is the method that an operation names, or nil.
func (t *Table) methodOf(op *Operation) (protoreflect.MethodDescriptor, error) {
	name, ok, err := op.extension("x-grpc-method")
	if err != nil {
		return nil, err
	}
	if ok {
		md, ok := t.Schema.Method(strings.TrimPrefix(name, "/"))
		if !ok {
			return nil, fmt.Errorf("%s: x-grpc-method: there is no method %q; write package.Service/Method", op.Pos, name)
		}
		return md, nil
	}
	id := op.Op.OperationID
	if md, ok := t.Schema.Method(id); ok {
		return md, nil
	}
	if service, method, ok := strings.Cut(id, "_"); ok {
		if md, err := t.byShortName(op, service, method); md != nil || err != nil {
			return md, err
		}
	}
	if service, method, ok := strings.Cut(id, "."); ok && !strings.Contains(method, ".") {
		return t.byShortName(op, service, method)
	}
	return nil, nil
}

// byShortName finds a method by the name of its service without the package. A
// service without the method is a slip of the pen, not another kind of operation.
func (t *Table) byShortName(op *Operation, service, method string) (protoreflect.MethodDescriptor, error) {
	var found protoreflect.MethodDescriptor
	var without protoreflect.ServiceDescriptor
	for _, sd := range t.Schema.Services() {
		if string(sd.Name()) != service {
			continue
		}
		md := sd.Methods().ByName(protoreflect.Name(method))
		switch {
		case md == nil:
			without = sd
		case found != nil:
			return nil, fmt.Errorf("%s: operationId %q is ambiguous: %s or %s; write x-grpc-method", op.Pos, op.Op.OperationID, found.FullName(), md.FullName())
		default:
			found = md
		}
	}
	if found == nil && without != nil {
		return nil, fmt.Errorf("%s: operationId %q: service %s has no method %q", op.Pos, op.Op.OperationID, without.FullName(), method)
	}
	return found, nil
}
