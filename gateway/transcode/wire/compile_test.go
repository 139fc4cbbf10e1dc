package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pithead/pithead/gateway/transcode/wire/internal/testpb"
)

func TestCompileSharesPlans(t *testing.T) {
	p := planOf(t, (*testpb.Nested)(nil), Options{})
	if p.byName["child"].plan != p || p.byName["children"].plan != p {
		t.Error("a message that holds itself has two plans")
	}
	if p.Descriptor().FullName() != "pithead.wire.test.Nested" {
		t.Error(p.Descriptor().FullName())
	}
}

// A descriptor set comes from outside. What it calls well known must be it.
func TestCompileRefuses(t *testing.T) {
	int32s := []*descriptorpb.FieldDescriptorProto{{
		Name: new("value"), Number: new(int32(1)), Type: descriptorpb.FieldDescriptorProto_TYPE_INT32.Enum(),
		Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}}
	for name, c := range map[string]struct {
		pkg  string
		m    *descriptorpb.DescriptorProto
		want string
	}{
		"another Timestamp": {"google.protobuf", &descriptorpb.DescriptorProto{Name: new("Timestamp"), Field: int32s}, "its fields are not those that the type has"},
		"another Struct":    {"google.protobuf", &descriptorpb.DescriptorProto{Name: new("Struct"), Field: int32s}, "its fields are not those that the type has"},
		"an empty Value":    {"google.protobuf", &descriptorpb.DescriptorProto{Name: new("Value")}, "its fields are not those that the type has"},
		"a missing message": {"x", &descriptorpb.DescriptorProto{Name: new("M"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: new("f"), Number: new(int32(1)), Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(),
			TypeName: new(".no.such.Message"), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}}}, "its descriptor is missing"},
		"a missing enum": {"x", &descriptorpb.DescriptorProto{Name: new("M"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: new("f"), Number: new(int32(1)), Type: descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum(),
			TypeName: new(".no.such.Enum"), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}}}, "its descriptor is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			file := &descriptorpb.FileDescriptorProto{Name: new("x.proto"), Package: new(c.pkg), MessageType: []*descriptorpb.DescriptorProto{c.m}}
			fd, err := protodesc.FileOptions{AllowUnresolvable: true}.New(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Compile(fd.Messages().Get(0), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Descriptors also come from a compiler, which has its own.
func TestCompileFromSource(t *testing.T) {
	source := protocompile.SourceAccessorFromMap(map[string]string{
		"set.proto":     `syntax = "proto2"; message Set { option message_set_wire_format = true; extensions 4 to max; } message M { optional Set set = 1; }`,
		"edition.proto": `edition = "2023"; message E { string checked = 1; E part = 3 [features.message_encoding = DELIMITED]; repeated int32 n = 4; }`,
	})
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: source})}
	files, err := c.Compile(t.Context(), "set.proto", "edition.proto")
	if err != nil {
		t.Fatal(err)
	}
	for _, md := range []protoreflect.MessageDescriptor{files[0].Messages().Get(0), files[0].Messages().Get(1)} {
		if _, err := Compile(md, Options{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", md.FullName(), err)
		}
	}
	p, err := Compile(files[1].Messages().Get(0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := p.AppendWire(nil, []byte(`{"part":{"n":[1,2]}}`))
	if want := group(3, parts(4, []byte{1, 2})); err != nil || !bytes.Equal(wire, want) {
		t.Errorf("got %x, %v; want %x", wire, err, want)
	}
	if _, err := p.AppendJSON(nil, parts(1, "\xff", 1, "a")); err == nil {
		t.Error("invalid UTF-8 was overlooked")
	}
}

// lying answers another type than it was asked for.
type lying struct{}

func (lying) FindMessageByURL(string) (protoreflect.MessageType, error) {
	return (*testpb.Nested)(nil).ProtoReflect().Type(), nil
}

func TestAnyNeedsItsType(t *testing.T) {
	for name, o := range map[string]Options{"no types": {}, "another type": {Types: lying{}}} {
		t.Run(name, func(t *testing.T) {
			p := planOf(t, emptyAny(), o)
			if _, err := p.AppendWire(nil, []byte(`{"@type":"x/google.protobuf.Empty"}`)); err == nil {
				t.Error("JSON was accepted")
			}
			if _, err := p.AppendJSON(nil, parts(1, "x/google.protobuf.Empty")); err == nil {
				t.Error("wire was accepted")
			}
		})
	}
}

func TestOptions(t *testing.T) {
	const in = `{"oneEnum":"RED","manyInt64":[1],"nope":{"deep":[1,"x"]},"manyEnum":["BLUE","GREEN"],"choiceEnum":"BLUE","mapEnum":{"a":"BLUE","b":"RED"}}`
	wire, err := everything(t, Options{DiscardUnknown: true}).AppendWire(nil, []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	got, err := everything(t, Options{ProtoNames: true, EnumNumbers: true}).AppendJSON(nil, wire)
	const want = `{"one_enum":1,"many_int64":["1"],"many_enum":[2],"map_enum":{"b":1}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	got, err = planOf(t, (*testpb.Edition)(nil), Options{EmitDefaults: true}).AppendJSON(nil, parts(3, 1))
	if err != nil || string(got) != `{"implicit":0,"required":1,"delimitedList":[],"expanded":[]}` {
		t.Errorf("got %s, %v", got, err)
	}
	for _, doc := range []string{`{"mapEnum":{"a":"RED","a":"BLUE"}}`, `{"mapEnum":{"a":"BLUE","\u0061":"RED"}}`} {
		if _, err := everything(t, Options{DiscardUnknown: true}).AppendWire(nil, []byte(doc)); err == nil {
			t.Errorf("%s: a key was taken twice", doc)
		}
	}
	if _, err := everything(t, Options{MaxDepth: 3}).AppendWire(nil, deep(4)); err == nil {
		t.Error("4 levels of 3")
	}
}
