package transcode

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pithead/pithead/gateway/transcode/wire"
)

const (
	httpBody  = "google.api.HttpBody"
	fieldMask = "google.protobuf.FieldMask"
	whole     = "*" // as google.api.http writes a body that is the whole message
)

// Call is one operation bound to one method, ready for requests.
type Call struct {
	HTTPMethod string
	RPC        protoreflect.MethodDescriptor
	// Body is the field that the body of a request is for, "*" for the whole
	// message, "" for requests without a body. ResponseBody is the field of the
	// answer that is shown; "" shows all of it.
	Body, ResponseBody string
	// Operation is nil when the binding comes from an annotation without a document.
	Operation *Operation
	Pos       Position

	template *template
	opts     Options
	path     []*param // in the order of the template's variables
	query    map[string]*param
	anyQuery bool // names that query does not have are looked up among the fields
	header   []*param
	cookie   []*param

	in, out  *wire.Plan
	body     *wire.Field
	rawBody  bool // a google.api.HttpBody: what came is data
	response *wire.Field
	rawOut   bool
	mask     protowire.Number // of the FieldMask that a PATCH fills, 0 without one
	patched  protoreflect.MessageDescriptor
}

// param is a parameter and the field that it fills.
type param struct {
	name  string
	field *wire.Field
	nums  []protowire.Number // of the fields that lead to it, itself the last
	path  string             // of the field
	split string             // what is between the values of a list; "" for none
	deep  bool               // name[member]=value
}

// Template is the path with its variables, behind the base path.
func (c *Call) Template() string { return c.template.text }

// Path is the path of the gRPC call.
func (c *Call) Path() string { return pathOf(c.RPC) }

// Secured says whether the document asks for a caller with an identity.
func (c *Call) Secured() bool { return c.Operation != nil && c.Operation.Secured }

// compile prepares a call whose method, bodies and template are known.
func (c *Call) compile(t *Table) error {
	c.opts = t.opts
	o := wire.Options{
		MaxDepth: t.opts.MaxDepth, DiscardUnknown: t.opts.DiscardUnknown, EmitDefaults: t.opts.EmitDefaults,
		ProtoNames: t.opts.ProtoNames, EnumNumbers: t.opts.EnumNumbers, Types: t.Schema.Types,
	}
	var err error
	if c.in, err = wire.Compile(c.RPC.Input(), o); err != nil {
		return fmt.Errorf("%s: %w", c.RPC.Input().FullName(), err)
	}
	if c.out, err = wire.Compile(c.RPC.Output(), o); err != nil {
		return fmt.Errorf("%s: %w", c.RPC.Output().FullName(), err)
	}
	return errors.Join(c.compileBodies(), c.compileParams())
}

func (c *Call) compileBodies() error {
	var err error
	switch c.Body {
	case "":
	case whole:
		c.rawBody = c.RPC.Input().FullName() == httpBody
	default:
		if c.body, err = c.in.Field(c.Body); err != nil {
			return fmt.Errorf("body: %w", err)
		}
		c.rawBody = isMessage(c.body.Descriptor(), httpBody)
		if strings.Contains(c.Body, ".") && c.rawBody {
			return fmt.Errorf("body: %s is a google.api.HttpBody inside of another message", c.Body)
		}
		c.compileMask()
	}
	c.rawOut = c.RPC.Output().FullName() == httpBody
	if c.ResponseBody != "" {
		if c.response, err = c.out.Field(c.ResponseBody); err != nil {
			return fmt.Errorf("response body: %w", err)
		}
	}
	return nil
}

// compileMask finds the one FieldMask of the request of a PATCH.
func (c *Call) compileMask() {
	if c.HTTPMethod != http.MethodPatch || c.body.Descriptor().Message() == nil || c.body.Descriptor().IsList() || c.body.Descriptor().IsMap() {
		return
	}
	fields := c.RPC.Input().Fields()
	for i := range fields.Len() {
		if fd := fields.Get(i); isMessage(fd, fieldMask) {
			if c.mask != 0 {
				c.mask = 0
				return
			}
			c.mask = fd.Number()
		}
	}
	c.patched = c.body.Descriptor().Message()
}

func isMessage(fd protoreflect.FieldDescriptor, name protoreflect.FullName) bool {
	return fd != nil && !fd.IsList() && !fd.IsMap() && fd.Message() != nil && fd.Message().FullName() == name
}

func (c *Call) compileParams() error {
	declared := map[string]*openapi3.Parameter{}
	var errs []error
	c.query = map[string]*param{}
	if c.Operation == nil {
		c.anyQuery = c.Body != whole
	} else {
		for _, p := range c.Operation.Parameters {
			if p.In == openapi3.ParameterInPath {
				declared[p.Name] = p
				continue
			}
			errs = append(errs, c.declare(p))
		}
	}
	for _, v := range c.template.vars {
		path := v.name
		if d := declared[v.name]; d != nil {
			path = fieldOf(d)
		}
		p, err := c.newParam(v.name, path)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("path parameter %q: %w; name its field with x-grpc-field", v.name, err))
			continue
		case p.field.Descriptor().IsList() || p.field.Descriptor().IsMap():
			errs = append(errs, fmt.Errorf("path parameter %q: the field %s is repeated", v.name, path))
		}
		c.path = append(c.path, p)
	}
	return errors.Join(errs...)
}

// fieldOf is the field that a parameter of a document names.
func fieldOf(p *openapi3.Parameter) string {
	if path, ok := p.Extensions["x-grpc-field"].(string); ok {
		return path
	}
	return p.Name
}

// declare takes a parameter of the document that is not in the path.
func (c *Call) declare(d *openapi3.Parameter) error {
	path := fieldOf(d)
	p, err := c.newParam(d.Name, path)
	if d.In == openapi3.ParameterInHeader && err != nil && path == d.Name {
		p, err = c.newParam(d.Name, strings.ReplaceAll(strings.ToLower(d.Name), "-", "_"))
	}
	if err != nil {
		if d.In != openapi3.ParameterInQuery && path == d.Name {
			return nil // a header or a cookie that is no field goes on as what it is
		}
		pos := c.Pos
		if d.Origin != nil && d.Origin.Key != nil {
			pos.Line, pos.Column = d.Origin.Key.Line, d.Origin.Key.Column
		}
		return fmt.Errorf("%s parameter %q at %s: %w; name its field with x-grpc-field", d.In, d.Name, pos, err)
	}
	switch d.In {
	case openapi3.ParameterInHeader:
		p.split = ","
		p.name = http.CanonicalHeaderKey(d.Name)
		c.header = append(c.header, p)
	case openapi3.ParameterInCookie:
		c.cookie = append(c.cookie, p)
	default:
		p.split, p.deep = separator(d), d.Style == "deepObject" || p.field.Descriptor().IsMap()
		c.query[p.name] = p
	}
	if !p.field.Descriptor().IsList() {
		p.split = ""
	}
	return nil
}

// separator is what stands between the elements of a list in a query. Only lists
// in the style of forms are exploded by default.
func separator(d *openapi3.Parameter) string {
	switch exploded := d.Explode != nil && *d.Explode; {
	case exploded:
		return ""
	case d.Style == "spaceDelimited":
		return " "
	case d.Style == "pipeDelimited":
		return "|"
	case d.Explode != nil:
		return ","
	}
	return ""
}

// newParam finds the field at path.
func (c *Call) newParam(name, path string) (*param, error) {
	f, err := c.in.Field(path)
	if err != nil {
		return nil, err
	}
	return &param{name: name, field: f, path: path, nums: numbers(c.RPC.Input(), path)}, nil
}

// numbers are those of the fields on a path that is known to lead somewhere.
func numbers(md protoreflect.MessageDescriptor, path string) []protowire.Number {
	var nums []protowire.Number
	for name := range strings.SplitSeq(path, ".") {
		if md == nil {
			return nums
		}
		fd := fieldByName(md, name)
		if fd == nil {
			return nums
		}
		nums = append(nums, fd.Number())
		md = fd.Message()
	}
	return nums
}

func fieldByName(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByJSONName(name); fd != nil {
		return fd
	}
	return md.Fields().ByName(protoreflect.Name(name))
}
