package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/pithead/pithead/gateway/kind"
)

// KindInfo is what a schema needs to know of one plug-in.
type KindInfo struct {
	Table    string // the noun of its table: "middleware", "discovery source", "balancing policy"
	Name     string
	Type     reflect.Type // of its configuration struct
	Defaults any
	Docs     kind.Docs
}

// KindsOf lists the plug-ins of a table for Schema.
func KindsOf[E, T any](t *kind.Table[E, T]) ([]KindInfo, error) {
	docs, err := kind.ReadDocs(t.Source())
	if err != nil {
		return nil, fmt.Errorf("documentation of %s: %w", t.Noun(), err)
	}
	var all []KindInfo
	for _, name := range t.Names() {
		k, _ := t.Get(name)
		all = append(all, KindInfo{Table: t.Noun(), Name: name, Type: k.Type(), Defaults: k.Defaults(), Docs: docs})
	}
	return all, nil
}

// Schema is the JSON Schema (2020-12) of a process file, which is also that of
// route files. Editors complete and check with it while one types. It walks the
// same fields as the decoder, so the two cannot disagree about a name.
func Schema(kinds []KindInfo) ([]byte, error) {
	docs, err := Docs()
	if err != nil {
		return nil, err
	}
	b := schemaBuilder{defs: make(jsonschema.Definitions), kinds: kinds}
	for i := range kinds {
		k := &kinds[i]
		b.defs[kindDef(k)] = b.kind(k)
	}
	for _, table := range []string{"middleware", "discovery source", "balancing policy"} {
		b.defs[tableDef(table)] = b.table(table)
	}
	root := b.structure(rootType, defaultsOf(rootType, nil), docs)
	root.Version = jsonschema.Version
	root.Title = "Pithead configuration"
	root.Description = docs["Root"]
	root.Definitions = b.defs
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(out, '\n'), nil
}

type schemaBuilder struct {
	defs  jsonschema.Definitions
	kinds []KindInfo
	open  []reflect.Type // structs being built, to find the ones that hold themselves
}

func defName(s string) string           { return strings.ReplaceAll(s, " ", "_") }
func tableDef(table string) string      { return defName(table) }
func kindDef(k *KindInfo) string        { return defName(k.Table) + "." + k.Name }
func ref(def string) *jsonschema.Schema { return &jsonschema.Schema{Ref: "#/$defs/" + def} }

func (b *schemaBuilder) kind(k *KindInfo) *jsonschema.Schema {
	s := b.typ(k.Type, defaultsOf(k.Type, k.Defaults), k.Docs)
	prose, example := kind.Example(k.Docs[k.Type.Name()])
	s.Description = prose
	if example != "" {
		s.Description += "\n\n" + example
	}
	return s
}

// table is a block of one kind of a table: its bare name, or {kind: settings}.
// A bare name may also be that of a named block.
func (b *schemaBuilder) table(table string) *jsonschema.Schema {
	one := uint64(1)
	block := &jsonschema.Schema{
		Type: "object", Properties: jsonschema.NewProperties(),
		AdditionalProperties: jsonschema.FalseSchema, MinProperties: &one, MaxProperties: &one,
	}
	bare := &jsonschema.Schema{Type: "string"}
	for i := range b.kinds {
		if k := &b.kinds[i]; k.Table == table {
			block.Properties.Set(k.Name, ref(kindDef(k)))
			bare.Examples = append(bare.Examples, k.Name)
		}
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{bare, block}}
}

// field is the schema of a setting, with the words and the default of it.
func (b *schemaBuilder) field(f *field, v reflect.Value, docs kind.Docs) *jsonschema.Schema {
	var s *jsonschema.Schema
	switch {
	case f.settings:
		s = b.settings(f)
	case f.kinds != "":
		s = b.blocks(f.typ, f.kinds)
	case f.one:
		item := b.define(f.typ.Elem(), docs)
		s = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{item, {Type: "array", Items: item, MinItems: new(uint64(1))}}}
	default:
		s = b.typ(f.typ, v, docs)
	}
	s.Description = docs[f.owner.Name()+"."+f.goName]
	if text := written(v); text != "" {
		s.Default = yamlValue(v, text)
	}
	return s
}

// define gives a type a schema of its own, for what stands in several places.
func (b *schemaBuilder) define(t reflect.Type, docs kind.Docs) *jsonschema.Schema {
	name := strings.ToLower(t.Name())
	b.defs[name] = b.typ(t, defaultsOf(t, nil), docs)
	return ref(name)
}

// settings is the schema of a block whose kind is its own name. Nothing in it
// is required: it only holds defaults.
func (b *schemaBuilder) settings(f *field) *jsonschema.Schema {
	for i := range b.kinds {
		if k := &b.kinds[i]; k.Table == f.kinds && k.Name == f.name {
			s := b.kind(k)
			s.Required = nil
			return s
		}
	}
	return &jsonschema.Schema{Type: "object"}
}

func (b *schemaBuilder) blocks(t reflect.Type, table string) *jsonschema.Schema {
	switch t.Kind() {
	case reflect.Slice:
		return &jsonschema.Schema{Type: "array", Items: ref(tableDef(table))}
	case reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: ref(tableDef(table))}
	}
	return ref(tableDef(table))
}

// variable lets ${NAME} stand where a number or another word would.
const variable = `^.*\$\{.+\}.*$`

func orVariable(s *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "string", Pattern: variable}}}
}

func pattern(p string) *jsonschema.Schema {
	return orVariable(&jsonschema.Schema{Type: "string", Pattern: p})
}

func (b *schemaBuilder) typ(t reflect.Type, v reflect.Value, docs kind.Docs) *jsonschema.Schema {
	switch t {
	case durationType:
		return pattern(`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`)
	case sizeType:
		size := pattern(`^[0-9]+(B|KiB|MiB|GiB)?$`)
		size.AnyOf = append(size.AnyOf, &jsonschema.Schema{Type: "integer", Minimum: "0"})
		return size
	case blockType:
		return &jsonschema.Schema{}
	}
	if isText(t) {
		return b.text(t, v, docs)
	}
	switch t.Kind() {
	case reflect.Pointer:
		inner := defaultsOf(t.Elem(), nil)
		if v.IsValid() && !v.IsNil() {
			inner = v.Elem()
		}
		return b.typ(t.Elem(), inner, docs)
	case reflect.Struct:
		return b.structure(t, v, docs)
	case reflect.Slice:
		return &jsonschema.Schema{Type: "array", Items: b.typ(t.Elem(), defaultsOf(t.Elem(), nil), docs)}
	case reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: b.typ(t.Elem(), defaultsOf(t.Elem(), nil), docs)}
	case reflect.Bool:
		return orVariable(&jsonschema.Schema{Type: "boolean"})
	case reflect.Float32, reflect.Float64:
		return orVariable(&jsonschema.Schema{Type: "number"})
	case reflect.String:
		// A plain 8080 or true is text when text is wanted.
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
	}
	if t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 {
		return orVariable(&jsonschema.Schema{Type: "integer", Minimum: "0"})
	}
	return orVariable(&jsonschema.Schema{Type: "integer"})
}

// text is a type that reads itself from text; if it is a struct with settings,
// it may be written as a map too.
func (b *schemaBuilder) text(t reflect.Type, v reflect.Value, docs kind.Docs) *jsonschema.Schema {
	s := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}}}
	if t != prefixType && t != addrType {
		s.AnyOf = append(s.AnyOf, &jsonschema.Schema{Type: "number"}, &jsonschema.Schema{Type: "boolean"})
	}
	if t.Kind() == reflect.Struct && len(fieldsOf(t)) > 0 {
		s.AnyOf = append(s.AnyOf, b.structure(t, v, docs))
	}
	return s
}

func (b *schemaBuilder) structure(t reflect.Type, v reflect.Value, docs kind.Docs) *jsonschema.Schema {
	if slices.Contains(b.open, t) {
		return &jsonschema.Schema{Type: "object"} // it holds itself; its shape stands above
	}
	b.open = append(b.open, t)
	defer func() { b.open = b.open[:len(b.open)-1] }()
	s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
	for _, f := range fieldsOf(t) {
		s.Properties.Set(f.name, b.field(f, v.FieldByIndex(f.index), docs))
		if f.required {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

// yamlValue is a default as an editor inserts it: numbers and truth values as
// such, all else as text.
func yamlValue(v reflect.Value, text string) any {
	switch {
	case isText(v.Type()) || v.Type() == durationType:
		return text
	case v.Kind() == reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = yamlValue(v.Index(i), written(v.Index(i)))
		}
		return list
	case v.Kind() == reflect.String, v.Kind() == reflect.Map:
		return text
	}
	return v.Interface()
}
