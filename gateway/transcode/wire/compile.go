package wire

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// denseNumbers is up to which number fields and enum values are found by index.
const denseNumbers = 256

// ErrUnsupported is in the error of Compile for a message that has no JSON form.
var ErrUnsupported = errors.New("no JSON form")

// Compile makes the plan of a message type and of all that it holds. Types that
// hold themselves share one plan. The descriptor must be complete: a field
// whose type is a placeholder is refused, and so are MessageSets
// (ErrUnsupported) and a google.protobuf type that is not what it should be.
func Compile(md protoreflect.MessageDescriptor, o Options) (*Plan, error) {
	if o.MaxDepth <= 0 {
		o.MaxDepth = DefaultMaxDepth
	}
	h := &home{o: o, seed: maphash.MakeSeed()}
	h.types.Store(&map[string]*Plan{})
	return h.compile(md)
}

func (h *home) compile(md protoreflect.MessageDescriptor) (*Plan, error) {
	c := compiler{home: h, plans: map[protoreflect.FullName]*Plan{}, enums: map[protoreflect.FullName]*enum{}}
	return c.message(md)
}

type compiler struct {
	home  *home
	plans map[protoreflect.FullName]*Plan
	enums map[protoreflect.FullName]*enum
}

func (c *compiler) message(md protoreflect.MessageDescriptor) (*Plan, error) {
	if p := c.plans[md.FullName()]; p != nil {
		return p, nil
	}
	if md.IsPlaceholder() {
		return nil, fmt.Errorf("message %s: its descriptor is missing", md.FullName())
	}
	if isMessageSet(md) {
		return nil, fmt.Errorf("message %s: a MessageSet: %w", md.FullName(), ErrUnsupported)
	}
	p := &Plan{md: md, home: c.home, byName: map[string]*field{}, sparse: map[protowire.Number]*field{}}
	c.plans[md.FullName()] = p
	var err error
	if p.known, err = wellKnown(md); err != nil {
		return nil, err
	}
	p.oneofs = md.Oneofs().Len()
	for i := range md.Fields().Len() {
		f, err := c.field(md.Fields().Get(i))
		if err != nil {
			return nil, err
		}
		p.add(f)
	}
	return p, nil
}

// add enters a field. When two fields share a name, a JSON name goes before a
// name of the .proto file, and the field declared first before the other.
func (p *Plan) add(f *field) {
	p.fields = append(p.fields, f)
	if f.required {
		p.required++
	}
	if f.name = f.fd.JSONName(); !isExtensionName(f.name) {
		if other := p.byName[f.name]; other == nil || other.fd.JSONName() != f.name {
			p.byName[f.name] = f
		}
	}
	if text := f.fd.TextName(); p.byName[text] == nil && !isExtensionName(text) {
		p.byName[text] = f
	}
	n := f.fd.Number()
	if n >= denseNumbers {
		p.sparse[n] = f
		return
	}
	for len(p.dense) <= int(n) {
		p.dense = append(p.dense, nil)
	}
	p.dense[n] = f
}

// isExtensionName tells names that ProtoJSON keeps for extensions.
func isExtensionName(s string) bool {
	return strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]")
}

func (c *compiler) field(fd protoreflect.FieldDescriptor) (*field, error) {
	f := &field{
		fd: fd, kind: fd.Kind(), index: fd.Index(), wtype: wireTypes[fd.Kind()], oneof: -1,
		implicit: !fd.HasPresence(), required: fd.Cardinality() == protoreflect.Required,
		packed: fd.IsPacked(), utf8: enforcesUTF8(fd),
	}
	switch {
	case fd.IsMap():
		f.shape, f.implicit = mapping, false
	case fd.IsList():
		f.shape, f.implicit = list, false
	}
	if od := fd.ContainingOneof(); od != nil {
		f.oneof = od.Index()
	}
	f.emit = c.home.o.EmitDefaults && !fd.HasPresence() && f.oneof < 0
	f.names(c.home.o.ProtoNames)
	f.tags()
	if ed := fd.Enum(); ed != nil {
		if ed.IsPlaceholder() {
			return nil, fmt.Errorf("enum %s: its descriptor is missing", ed.FullName())
		}
		f.enum = c.enum(ed)
		f.null = f.enum.isNull
	}
	if md := fd.Message(); md != nil {
		var err error
		if f.plan, err = c.message(md); err != nil {
			return nil, err
		}
		f.null = md.FullName() == "google.protobuf.Value"
	}
	return f, nil
}

func (f *field) names(proto bool) {
	name := f.fd.JSONName()
	if quoted := appendQuoted(nil, name); string(quoted) == `"`+name+`"` && !isExtensionName(name) {
		f.quoted = quoted
	}
	if proto {
		name = f.fd.TextName()
	}
	f.label = append(appendQuoted([]byte{','}, name), ':')
}

func (f *field) tags() {
	n, wtype := f.fd.Number(), f.wtype
	if f.packed || f.shape == mapping {
		wtype = protowire.BytesType
	}
	f.tag = protowire.AppendTag(nil, n, wtype)
	if f.kind == protoreflect.GroupKind {
		f.end = protowire.AppendTag(nil, n, protowire.EndGroupType)
	}
}

func (c *compiler) enum(ed protoreflect.EnumDescriptor) *enum {
	if e := c.enums[ed.FullName()]; e != nil {
		return e
	}
	e := &enum{numbers: map[string]int32{}, labels: map[int32][]byte{}, isNull: ed.FullName() == "google.protobuf.NullValue"}
	c.enums[ed.FullName()] = e
	for i := range ed.Values().Len() {
		v := ed.Values().Get(i)
		n := int32(v.Number())
		e.numbers[string(v.Name())] = n
		if e.labels[n] != nil {
			continue // an alias: the first name is the one that is printed
		}
		e.labels[n] = []byte(strconv.Quote(string(v.Name())))
		if n >= 0 && n < denseNumbers {
			for len(e.dense) <= int(n) {
				e.dense = append(e.dense, nil)
			}
			e.dense[n] = e.labels[n]
		}
	}
	return e
}

var wireTypes = map[protoreflect.Kind]protowire.Type{
	protoreflect.BoolKind:     protowire.VarintType,
	protoreflect.EnumKind:     protowire.VarintType,
	protoreflect.Int32Kind:    protowire.VarintType,
	protoreflect.Sint32Kind:   protowire.VarintType,
	protoreflect.Uint32Kind:   protowire.VarintType,
	protoreflect.Int64Kind:    protowire.VarintType,
	protoreflect.Sint64Kind:   protowire.VarintType,
	protoreflect.Uint64Kind:   protowire.VarintType,
	protoreflect.Sfixed32Kind: protowire.Fixed32Type,
	protoreflect.Fixed32Kind:  protowire.Fixed32Type,
	protoreflect.FloatKind:    protowire.Fixed32Type,
	protoreflect.Sfixed64Kind: protowire.Fixed64Type,
	protoreflect.Fixed64Kind:  protowire.Fixed64Type,
	protoreflect.DoubleKind:   protowire.Fixed64Type,
	protoreflect.StringKind:   protowire.BytesType,
	protoreflect.BytesKind:    protowire.BytesType,
	protoreflect.MessageKind:  protowire.BytesType,
	protoreflect.GroupKind:    protowire.StartGroupType,
}

// enforcesUTF8 tells whether a string with invalid UTF-8 is no message at all:
// always with proto3, by feature with editions. protoreflect has no public
// method for the feature, but the descriptors of the module have this one; of
// others, what is not proto2 is taken to be checked, as is the rule.
func enforcesUTF8(fd protoreflect.FieldDescriptor) bool {
	if fd.Kind() != protoreflect.StringKind {
		return false
	}
	if fd, ok := fd.(interface{ EnforceUTF8() bool }); ok {
		return fd.EnforceUTF8()
	}
	return fd.Syntax() != protoreflect.Proto2
}

func isMessageSet(md protoreflect.MessageDescriptor) bool {
	o, ok := md.Options().(interface{ GetMessageSetWireFormat() bool })
	return ok && o.GetMessageSetWireFormat()
}
