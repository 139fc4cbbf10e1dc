package config

import (
	"encoding"
	"reflect"
	"strings"
	"sync"
)

// field is one setting of a struct: what its yaml tag says of it.
type field struct {
	name     string
	index    []int
	typ      reflect.Type
	owner    reflect.Type // the struct that declares it, for its documentation
	goName   string
	required bool   // `yaml:"name,required"`
	one      bool   // `yaml:"name,one"`: the only element of a list may stand for the list
	settings bool   // `yaml:"name,settings"`: a *Block whose kind is its own name
	kinds    string // `kinds:"middleware"`: the table that a *Block takes its kind from
}

type fields []*field

func (f fields) byName(name string) (*field, bool) {
	for _, one := range f {
		if one.name == name {
			return one, true
		}
	}
	return nil, false
}

func (f fields) names() []string {
	names := make([]string, len(f))
	for i, one := range f {
		names[i] = one.name
	}
	return names
}

// fieldCache holds what fieldsOf found, which never changes for a type.
var fieldCache sync.Map

// fieldsOf lists the settings of a struct type; those of embedded structs count
// as its own.
func fieldsOf(t reflect.Type) fields {
	if known, ok := fieldCache.Load(t); ok {
		return known.(fields)
	}
	var all fields
	for f := range t.Fields() {
		tag, tagged := f.Tag.Lookup("yaml")
		if f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct {
			for _, inner := range fieldsOf(f.Type) {
				own := *inner
				own.index = append([]int{f.Index[0]}, inner.index...)
				all = append(all, &own)
			}
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		one := &field{name: name, index: f.Index, typ: f.Type, owner: t, goName: f.Name, kinds: f.Tag.Get("kinds")}
		for option := range strings.SplitSeq(options, ",") {
			one.required = one.required || option == "required"
			one.one = one.one || option == "one"
			one.settings = one.settings || option == "settings"
		}
		all = append(all, one)
	}
	fieldCache.Store(t, all)
	return all
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
