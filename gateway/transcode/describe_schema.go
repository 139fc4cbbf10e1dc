package transcode

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pithead/pithead/gateway/transcode/wire"
)

func ref(name string) map[string]any { return map[string]any{"$ref": "#/components/schemas/" + name} }

// name is the name of a field in JSON, as the table writes it.
func (d *describer) name(fd protoreflect.FieldDescriptor) string {
	if d.t.opts.ProtoNames {
		return string(fd.Name())
	}
	return fd.JSONName()
}

// part is the schema of a message, or of one field of it.
func (d *describer) part(md protoreflect.MessageDescriptor, f *wire.Field) map[string]any {
	if f != nil {
		return d.field(f.Descriptor())
	}
	return d.message(md)
}

// field is the schema of a field.
func (d *describer) field(fd protoreflect.FieldDescriptor) map[string]any {
	switch {
	case fd.IsMap():
		return map[string]any{"type": "object", "additionalProperties": d.single(fd.MapValue())}
	case fd.IsList():
		return map[string]any{"type": "array", "items": d.single(fd)}
	}
	return d.single(fd)
}

func (d *describer) single(fd protoreflect.FieldDescriptor) map[string]any {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return d.message(fd.Message())
	case protoreflect.EnumKind:
		return d.enum(fd.Enum())
	}
	return scalarSchema(fd.Kind())
}

// scalarSchema is what ProtoJSON writes: 64 bits as a text, for the sake of readers
// that keep all numbers as floats.
func scalarSchema(k protoreflect.Kind) map[string]any {
	switch k {
	case protoreflect.BoolKind:
		return map[string]any{"type": "boolean"}
	case protoreflect.StringKind:
		return map[string]any{"type": "string"}
	case protoreflect.BytesKind:
		return map[string]any{"type": "string", "format": "byte"}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return map[string]any{"type": "integer", "format": "int32"}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return map[string]any{"type": "integer", "format": "uint32", "minimum": 0}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return map[string]any{"type": "string", "format": "int64"}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return map[string]any{"type": "string", "format": "uint64"}
	}
	format := "double"
	if k == protoreflect.FloatKind {
		format = "float"
	}
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "number", "format": format}, map[string]any{"type": "string", "enum": []any{"NaN", "Infinity", "-Infinity"}},
	}}
}

// wellKnown is the schema of a message with a form of its own in JSON, nil for others.
func wellKnown(name protoreflect.FullName) map[string]any {
	switch name {
	case "google.protobuf.Timestamp":
		return map[string]any{"type": "string", "format": "date-time"}
	case "google.protobuf.Duration":
		return map[string]any{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]{1,9})?s$`}
	case fieldMask:
		return map[string]any{"type": "string", "description": "Paths of fields, with commas between them."}
	case "google.protobuf.Struct":
		return map[string]any{"type": "object"}
	case "google.protobuf.Value":
		return map[string]any{}
	case "google.protobuf.ListValue":
		return map[string]any{"type": "array", "items": map[string]any{}}
	case "google.protobuf.Empty":
		return map[string]any{"type": "object", "maxProperties": 0}
	case "google.protobuf.Any":
		return map[string]any{"type": "object", "required": []any{"@type"}, "properties": map[string]any{"@type": map[string]any{"type": "string"}}}
	}
	if k, ok := wrappers[name]; ok {
		s := scalarSchema(k)
		if forms, ok := s["anyOf"].([]any); ok {
			s["anyOf"] = append(forms, map[string]any{"type": "null"})
		} else {
			s["type"] = []any{s["type"], "null"}
		}
		return s
	}
	return nil
}

var wrappers = map[protoreflect.FullName]protoreflect.Kind{
	"google.protobuf.BoolValue": protoreflect.BoolKind, "google.protobuf.StringValue": protoreflect.StringKind, "google.protobuf.BytesValue": protoreflect.BytesKind,
	"google.protobuf.Int32Value": protoreflect.Int32Kind, "google.protobuf.UInt32Value": protoreflect.Uint32Kind, "google.protobuf.Int64Value": protoreflect.Int64Kind,
	"google.protobuf.UInt64Value": protoreflect.Uint64Kind, "google.protobuf.FloatValue": protoreflect.FloatKind, "google.protobuf.DoubleValue": protoreflect.DoubleKind,
}

// scalarLike says whether a message is one text or number in JSON.
func scalarLike(name protoreflect.FullName) bool {
	_, wrapper := wrappers[name]
	return wrapper || name == "google.protobuf.Timestamp" || name == "google.protobuf.Duration" || name == fieldMask
}

func (d *describer) enum(ed protoreflect.EnumDescriptor) map[string]any {
	if ed.FullName() == "google.protobuf.NullValue" {
		return map[string]any{"type": "null"}
	}
	name := string(ed.FullName())
	if d.schemas[name] == nil {
		s := map[string]any{"type": "string"}
		var values []any
		for i := range ed.Values().Len() {
			if v := ed.Values().Get(i); d.t.opts.EnumNumbers {
				s["type"], values = "integer", append(values, int32(v.Number()))
			} else {
				values = append(values, string(v.Name()))
			}
		}
		s["enum"] = values
		if text := commentOf(ed); text != "" {
			s["description"] = text
		}
		d.schemas[name] = s
	}
	return ref(name)
}

// message is a reference, so that messages may hold themselves.
func (d *describer) message(md protoreflect.MessageDescriptor) map[string]any {
	if s := wellKnown(md.FullName()); s != nil {
		return s
	}
	name := string(md.FullName())
	if d.schemas[name] != nil {
		return ref(name)
	}
	properties := make(map[string]any)
	s := map[string]any{"type": "object", "properties": properties}
	d.schemas[name] = s
	var required []any
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		property := d.field(fd)
		if text := commentOf(fd); text != "" {
			property["description"] = text
		}
		properties[d.name(fd)] = property
		if fd.Cardinality() == protoreflect.Required {
			required = append(required, d.name(fd))
		}
	}
	if required != nil {
		s["required"] = required
	}
	if pairs := d.oneofs(md); pairs != nil {
		s["not"] = map[string]any{"anyOf": pairs}
	}
	if text := commentOf(md); text != "" {
		s["description"] = text
	}
	return ref(name)
}

// maxPairs bounds what a schema says of the fields that exclude each other.
const maxPairs = 64

// oneofs are the pairs of fields that exclude each other.
func (d *describer) oneofs(md protoreflect.MessageDescriptor) (pairs []any) {
	for i := range md.Oneofs().Len() {
		od := md.Oneofs().Get(i)
		if od.IsSynthetic() {
			continue
		}
		for a := range od.Fields().Len() {
			for b := range a {
				pairs = append(pairs, map[string]any{"required": []any{d.name(od.Fields().Get(b)), d.name(od.Fields().Get(a))}})
			}
		}
	}
	return pairs[:min(len(pairs), maxPairs)]
}
