package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/pithead/pithead/gateway/transcode/wire/internal/testpb"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// subject is one message type under one set of options, with the oracle for it:
// protojson on the generated type and on dynamicpb.
type subject struct {
	plan  *Plan
	types [2]protoreflect.MessageType
	read  protojson.UnmarshalOptions
	print protojson.MarshalOptions
	depth int
}

// testTypes are the types that an Any may hold. They have no extensions, as
// plans have none.
func testTypes(tb testing.TB) *protoregistry.Types {
	tb.Helper()
	types := new(protoregistry.Types)
	add := func(mt protoreflect.MessageType) bool {
		if strings.HasPrefix(string(mt.Descriptor().FullName()), "google.protobuf.") ||
			strings.HasPrefix(string(mt.Descriptor().FullName()), "pithead.wire.test.") {
			if err := types.RegisterMessage(mt); err != nil {
				tb.Fatal(err)
			}
		}
		return true
	}
	protoregistry.GlobalTypes.RangeMessages(add)
	return types
}

var testMessages = []proto.Message{
	(*testpb.Everything)(nil), (*testpb.Nested)(nil), (*testpb.Order)(nil), (*testpb.Legacy)(nil), (*testpb.Edition)(nil), (*anypb.Any)(nil),
}

// newSubjects makes a subject of every message and set of options.
func newSubjects(tb testing.TB) []*subject {
	tb.Helper()
	types := testTypes(tb)
	var all []*subject
	for _, o := range []Options{{}, {DiscardUnknown: true, EmitDefaults: true}, {ProtoNames: true, EnumNumbers: true}} {
		o.Types = types
		for _, m := range testMessages {
			all = append(all, newSubject(tb, m, o, types))
		}
	}
	return all
}

func newSubject(tb testing.TB, m proto.Message, o Options, types *protoregistry.Types) *subject {
	tb.Helper()
	md := m.ProtoReflect().Descriptor()
	plan, err := Compile(md, o)
	if err != nil {
		tb.Fatal(err)
	}
	return &subject{
		plan:  plan,
		types: [2]protoreflect.MessageType{m.ProtoReflect().Type(), dynamicpb.NewMessageType(dynamic(tb, md))},
		read:  protojson.UnmarshalOptions{DiscardUnknown: o.DiscardUnknown, Resolver: types},
		print: protojson.MarshalOptions{EmitDefaultValues: o.EmitDefaults, UseProtoNames: o.ProtoNames, UseEnumNumbers: o.EnumNumbers, Resolver: types},
		depth: plan.home.o.MaxDepth,
	}
}

// dynamic finds the descriptor again in a registry that knows no Go types.
func dynamic(tb testing.TB, md protoreflect.MessageDescriptor) protoreflect.MessageDescriptor {
	tb.Helper()
	fd, err := protodesc.NewFile(protodesc.ToFileDescriptorProto(md.ParentFile()), protoregistry.GlobalFiles)
	if err != nil {
		tb.Fatal(err)
	}
	return fd.Messages().ByName(md.Name())
}

// checkJSON gives JSON to the plan and to the oracle.
func (s *subject) checkJSON(t testing.TB, in []byte, mt protoreflect.MessageType) {
	t.Helper()
	got, err := s.plan.AppendWire(nil, in)
	want := mt.New().Interface()
	wantErr := s.read.Unmarshal(in, want)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); !ok || e.Offset > len(in) || e.Msg == "" {
			t.Fatalf("%s %q: an error without a place: %#v", mt.Descriptor().Name(), in, err)
		}
		if wantErr == nil && !isStricter(in, err) {
			t.Fatalf("%s %q: refused: %v", mt.Descriptor().Name(), in, err)
		}
		return
	}
	if wantErr != nil {
		t.Fatalf("%s %q: accepted, but the oracle says: %v", mt.Descriptor().Name(), in, wantErr)
	}
	m := mt.New().Interface()
	if err := (proto.UnmarshalOptions{AllowPartial: true, Resolver: s.read.Resolver}).Unmarshal(got, m); err != nil {
		t.Fatalf("%s %q: %x is no message: %v", mt.Descriptor().Name(), in, got, err)
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 || !s.equal(t, m, want) {
		t.Fatalf("%s %q:\n got %v\nwant %v", mt.Descriptor().Name(), in, m, want)
	}
}

// Reasons to refuse what protojson takes, as the package comment lists them.
var (
	bareExponent  = regexp.MustCompile(`[0-9][eE][+-]?(?:[^0-9+-]|$)`)
	dateLike      = regexp.MustCompile(`^"\d{4}-`)
	bareDuration  = regexp.MustCompile(`^"[+-]?\.s"`)
	enumMap       = regexp.MustCompile(`map_?([cC]losed|[eE]num)`)
	strictReasons = []func(in []byte, e *Error) bool{
		func(_ []byte, e *Error) bool { return e.Msg == "nested too deep" },
		func(in []byte, e *Error) bool { return e.Msg == "duplicate key" && enumMap.Match(in) },
		func(in []byte, _ *Error) bool { return bareExponent.Match(in) },
		func(in []byte, e *Error) bool {
			return e.Msg == "not a value of type google.protobuf.Timestamp" && dateLike.Match(in[e.Offset:])
		},
		func(in []byte, e *Error) bool {
			return e.Msg == "not a value of type google.protobuf.Duration" && bareDuration.Match(in[e.Offset:])
		},
	}
)

func isStricter(in []byte, err error) bool {
	e, _ := errors.AsType[*Error](err)
	for _, reason := range strictReasons {
		if reason(in, e) {
			return true
		}
	}
	return false
}

// equal compares messages; the bytes inside an Any may have another order.
func (s *subject) equal(t testing.TB, a, b proto.Message) bool {
	t.Helper()
	if proto.Equal(a, b) {
		return true
	}
	s.normalise(t, a.ProtoReflect())
	s.normalise(t, b.ProtoReflect())
	return proto.Equal(a, b)
}

func (s *subject) normalise(t testing.TB, m protoreflect.Message) {
	t.Helper()
	if m.Descriptor().FullName() == "google.protobuf.Any" {
		fields := m.Descriptor().Fields()
		mt, err := s.read.Resolver.FindMessageByURL(m.Get(fields.ByNumber(1)).String())
		if err != nil {
			return
		}
		inner := mt.New()
		o := proto.UnmarshalOptions{AllowPartial: true, Resolver: s.read.Resolver}
		if err := o.Unmarshal(m.Get(fields.ByNumber(2)).Bytes(), inner.Interface()); err != nil {
			t.Fatalf("an Any holds bytes that are no message: %v", err)
		}
		s.normalise(t, inner)
		b, err := (proto.MarshalOptions{AllowPartial: true, Deterministic: true}).Marshal(inner.Interface())
		if err != nil {
			t.Fatal(err)
		}
		m.Set(fields.ByNumber(2), protoreflect.ValueOfBytes(b))
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				s.normalise(t, v.Message())
				return true
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				s.normalise(t, v.List().Get(i).Message())
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			s.normalise(t, v.Message())
		}
		return true
	})
}

// unmarshal reads the wire. dynamicpb panics when a map entry has a key, and
// another of the wrong wire type behind it; the generated type must answer then.
func (s *subject) unmarshal(in []byte, mt protoreflect.MessageType) (m proto.Message, err error) {
	defer func() {
		if mt != s.types[0] && recover() != nil {
			m, err = s.unmarshal(in, s.types[0])
		}
	}()
	m = mt.New().Interface()
	return m, (proto.UnmarshalOptions{Resolver: s.read.Resolver, NoLazyDecoding: true}).Unmarshal(in, m)
}

// checkWire gives bytes to the plan and to the oracle.
func (s *subject) checkWire(t testing.TB, in []byte, mt protoreflect.MessageType) {
	t.Helper()
	got, err := s.plan.AppendJSON(nil, in)
	var want []byte
	m, wantErr := s.unmarshal(in, mt)
	if wantErr == nil {
		want, wantErr = s.print.Marshal(m)
	}
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Offset > len(in) || e.Msg == "" {
			t.Fatalf("%s %x: an error without a place: %#v", mt.Descriptor().Name(), in, err)
		}
		if wantErr == nil && e.Msg != "nested too deep" {
			t.Fatalf("%s %x: refused: %v\nwant %s", mt.Descriptor().Name(), in, err, want)
		}
		return
	}
	if wantErr != nil {
		t.Fatalf("%s %x: printed as %s, but the oracle says: %v", mt.Descriptor().Name(), in, got, wantErr)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, compact.Bytes()) {
		t.Fatalf("%s %x:\n got %s\nwant %s", mt.Descriptor().Name(), in, got, compact.Bytes())
	}
	if _, err := s.plan.AppendWire(nil, got); err != nil {
		t.Fatalf("%s %x: %s is not read back: %v", mt.Descriptor().Name(), in, got, err)
	}
}
