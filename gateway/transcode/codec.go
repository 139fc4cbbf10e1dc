package transcode

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pithead/pithead/gateway/transcode/wire"
)

// Codec turns the messages of one method from JSON into protobuf and back, each
// as a whole. It never changes.
type Codec struct {
	// Safe says that the method is declared to have no side effects.
	Safe bool

	in, out *wire.Plan
}

// Codecs are those of all methods of a schema, by the paths of their calls.
// Methods whose messages have no JSON form have none.
func Codecs(s *Schema, o Options) (map[string]*Codec, error) {
	plans, err := newPlans(s, o), error(nil)
	codecs := map[string]*Codec{}
	for _, service := range s.services {
		for i := range service.Methods().Len() {
			md := service.Methods().Get(i)
			c := &Codec{}
			if opts, ok := md.Options().(*descriptorpb.MethodOptions); ok {
				c.Safe = opts.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
			}
			if c.in, err = plans(md.Input()); err == nil {
				c.out, err = plans(md.Output())
			}
			switch {
			case errors.Is(err, wire.ErrUnsupported):
			case err != nil:
				return nil, fmt.Errorf("%s: %w", md.FullName(), err)
			default:
				codecs[pathOf(md)] = c
			}
		}
	}
	return codecs, nil
}

// newPlans compiles each message once.
func newPlans(s *Schema, o Options) func(protoreflect.MessageDescriptor) (*wire.Plan, error) {
	type result struct {
		plan *wire.Plan
		err  error
	}
	known := map[protoreflect.FullName]result{}
	opts := wire.Options{
		MaxDepth: o.MaxDepth, DiscardUnknown: o.DiscardUnknown, EmitDefaults: o.EmitDefaults,
		ProtoNames: o.ProtoNames, EnumNumbers: o.EnumNumbers, Types: s.Types,
	}
	return func(md protoreflect.MessageDescriptor) (*wire.Plan, error) {
		r, ok := known[md.FullName()]
		if !ok {
			r.plan, r.err = wire.Compile(md, opts)
			known[md.FullName()] = r
		}
		return r.plan, r.err
	}
}

// AppendWire writes the message of a request from its JSON. The error is the
// client's, ready for its answer.
func (c *Codec) AppendWire(dst, json []byte) ([]byte, error) {
	dst, err := c.in.AppendWire(dst, json)
	if err != nil {
		return dst, refuse("transcode_body", "a message", err)
	}
	return dst, nil
}

// AppendJSON writes a message of an answer as JSON.
func (c *Codec) AppendJSON(dst, message []byte) ([]byte, error) {
	return c.out.AppendJSON(dst, message)
}
