package transcode

import (
	"fmt"

	"github.com/getkin/kin-openapi/openapi3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// field compares a schema with a field.
func (l *linter) field(ref *openapi3.SchemaRef, fd protoreflect.FieldDescriptor, dir direction, name string) {
	if ref == nil || ref.Value == nil {
		return
	}
	v := ref.Value
	switch {
	case fd.IsMap():
		if !l.is(v, "object") {
			l.clash(v, "%s is a map, not %s", name, typesOf(v))
		} else if v.AdditionalProperties.Schema != nil {
			l.single(v.AdditionalProperties.Schema, fd.MapValue(), dir, name)
		}
	case fd.IsList():
		if !l.is(v, "array") {
			if dir != inParameter { // one of a list can be given as a parameter
				l.clash(v, "%s is repeated, not %s", name, typesOf(v))
			}
		} else {
			l.single(v.Items, fd, dir, name)
		}
	default:
		l.single(ref, fd, dir, name)
	}
}

func (l *linter) single(ref *openapi3.SchemaRef, fd protoreflect.FieldDescriptor, dir direction, name string) {
	if ref == nil || ref.Value == nil {
		return
	}
	v := ref.Value
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		l.message(ref, fd.Message(), dir)
		return
	case protoreflect.EnumKind:
		l.enum(v, fd.Enum(), dir, name)
		return
	}
	if v.Type == nil {
		for _, part := range v.AllOf {
			l.single(part, fd, dir, name)
		}
		return
	}
	l.scalar(v, fd.Kind(), dir, name)
}

// known compares with a message that has a form of its own in JSON.
func (l *linter) known(v *openapi3.Schema, md protoreflect.MessageDescriptor, dir direction) {
	if k, ok := wrappers[md.FullName()]; ok {
		if v.Type != nil {
			l.scalar(v, k, dir, string(md.FullName()))
		}
		return
	}
	want := "object"
	switch {
	case md.FullName() == httpBody || md.FullName() == "google.protobuf.Value":
		return
	case scalarLike(md.FullName()):
		want = "string"
	case md.FullName() == "google.protobuf.ListValue":
		want = "array"
	}
	if !l.is(v, want) {
		l.clash(v, "%s is %s in JSON, not %s", md.FullName(), want, typesOf(v))
	}
}

// scalar compares a schema that has a type with a kind.
func (l *linter) scalar(v *openapi3.Schema, k protoreflect.Kind, dir direction, name string) {
	own := scalarSchema(k)
	kind := k.String()
	text := l.is(v, "string")
	switch format, _ := own["format"].(string); {
	case k == protoreflect.BoolKind:
		if !l.is(v, "boolean") && (dir != inParameter || !text) {
			l.clash(v, "%s is a bool, not %s", name, typesOf(v))
		}
	case k == protoreflect.StringKind, k == protoreflect.BytesKind:
		if !text && (dir != inParameter || l.is(v, "object", "array")) {
			l.clash(v, "%s is %s, which is a text in JSON, not %s", name, kind, typesOf(v))
		}
	case own["anyOf"] != nil:
		l.float(v, k, dir, name)
	case format == "int64" || format == "uint64":
		l.wide(v, kind, dir, name)
	default:
		l.narrow(v, k, dir, name)
	}
}

func (l *linter) float(v *openapi3.Schema, k protoreflect.Kind, dir direction, name string) {
	switch {
	case !l.is(v, "number", "integer") && (dir == inAnswer || !l.is(v, "string")):
		l.clash(v, "%s is a %s, not %s", name, k, typesOf(v))
	case k == protoreflect.FloatKind && v.Format == "double":
		l.lossy(v, "%s is a float; digits of a double are lost", name)
	case k == protoreflect.DoubleKind && v.Format == "float" && dir == inAnswer:
		l.lossy(v, "%s is a double; a reader of floats loses digits", name)
	case !l.is(v, "number", "string") && dir == inAnswer:
		l.lossy(v, "%s is a %s, and may have a fraction", name, k)
	}
}

// wide is for integers of 64 bits, which are texts in JSON.
func (l *linter) wide(v *openapi3.Schema, kind string, dir direction, name string) {
	switch {
	case l.is(v, "string"):
	case !l.is(v, "integer", "number"):
		l.clash(v, "%s is %s, not %s", name, kind, typesOf(v))
	case dir == inAnswer:
		l.lossy(v, "%s is %s, which answers have as a text since readers of JSON lose digits beyond 2^53; write type: string, format: int64", name, kind)
	case dir == inRequest:
		l.lossy(v, "%s is %s, but writers of JSON numbers may lose digits beyond 2^53; write type: string, format: int64", name, kind)
	}
	l.unsigned(v, kind, dir, name)
}

// narrow is for integers of 32 bits.
func (l *linter) narrow(v *openapi3.Schema, k protoreflect.Kind, dir direction, name string) {
	switch {
	case !l.is(v, "integer", "number") && (dir == inAnswer || !l.is(v, "string")):
		l.clash(v, "%s is %s, not %s", name, k, typesOf(v))
	case v.Format == "int64" && dir != inAnswer:
		l.lossy(v, "%s is %s; values beyond 32 bits are refused", name, k)
	case !l.is(v, "integer", "string") && dir != inAnswer:
		l.lossy(v, "%s is %s; fractions are refused", name, k)
	}
	l.unsigned(v, k.String(), dir, name)
}

func (l *linter) unsigned(v *openapi3.Schema, kind string, dir direction, name string) {
	if dir != inAnswer && (kind[0] == 'u' || kind[0] == 'f') && l.is(v, "integer", "number") && (v.Min == nil || *v.Min < 0) && v.ExclusiveMin.Value == nil {
		l.lossy(v, "%s is %s; negative values are refused. Write minimum: 0", name, kind)
	}
}

// enum compares the values.
func (l *linter) enum(v *openapi3.Schema, ed protoreflect.EnumDescriptor, dir direction, name string) {
	if ed.FullName() == "google.protobuf.NullValue" {
		return
	}
	want := []string{"string", "integer", "number"}
	if dir == inAnswer {
		if want = want[:1]; l.t.opts.EnumNumbers {
			want = []string{"integer", "number"}
		}
	}
	if !l.is(v, want...) {
		l.clash(v, "%s is the enum %s, not %s", name, ed.FullName(), typesOf(v))
		return
	}
	if len(v.Enum) == 0 {
		return
	}
	listed := make(map[string]bool)
	for _, value := range v.Enum {
		listed[fmt.Sprint(value)] = true
		if !enumHas(ed, value) {
			l.find(RuleEnum, dir != inAnswer, l.place(v), "%s: the enum %s has no value %v", name, ed.FullName(), value)
		}
	}
	if dir != inAnswer {
		return
	}
	for i := range ed.Values().Len() {
		if one := ed.Values().Get(i); !listed[string(one.Name())] && !listed[fmt.Sprint(one.Number())] {
			l.find(RuleEnum, false, l.place(v), "%s: answers may have %s, which the document does not list", name, one.Name())
		}
	}
}

func enumHas(ed protoreflect.EnumDescriptor, value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return ed.Values().ByName(protoreflect.Name(value)) != nil
	case float64:
		return ed.Values().ByNumber(protoreflect.EnumNumber(value)) != nil
	}
	return false
}
