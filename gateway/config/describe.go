package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// Setting is one line of the reference: what can be written and what it means.
type Setting struct {
	Name     string // dotted for a setting of a setting: "timeouts.idle", "rules[].cidr", "arms.*.tag"
	Type     string // "a duration", "a list of text", "true or false"
	Default  string // as it is written in YAML; "" is none
	Required bool
	Doc      string // the doc comment of the field
}

// Describe lists the settings of a struct type with those of the structs inside
// it. defaults is a value of the type, or nil for what SetDefaults makes; docs
// are the comments of the package that the type comes from.
func Describe(t reflect.Type, defaults any, docs kind.Docs) []Setting {
	var all []Setting
	describe(&all, "", t, defaultsOf(t, defaults), docs, nil)
	return all
}

// defaultsOf is a value of type t with its defaults.
func defaultsOf(t reflect.Type, given any) reflect.Value {
	v := reflect.New(t).Elem()
	if given != nil && reflect.TypeOf(given) == t {
		v.Set(reflect.ValueOf(given))
	} else {
		setDefaults(v)
	}
	return v
}

// describe appends the settings of t below prefix. outer are the types that it
// stands in, so that a type which holds itself ends.
func describe(all *[]Setting, prefix string, t reflect.Type, v reflect.Value, docs kind.Docs, outer []reflect.Type) {
	if slices.Contains(outer, t) {
		return
	}
	outer = append(outer, t)
	for _, f := range fieldsOf(t) {
		value := v.FieldByIndex(f.index)
		*all = append(*all, Setting{
			Name: prefix + f.name, Type: f.words(), Default: written(value),
			Required: f.required, Doc: docs[f.owner.Name()+"."+f.goName],
		})
		inner, path := f.typ, prefix+f.name
		if f.one {
			inner = inner.Elem()
		}
		for peeled := true; peeled; {
			switch {
			case inner == blockType || isText(inner) && inner.Kind() != reflect.Struct:
				peeled = false
			case inner.Kind() == reflect.Pointer:
				inner = inner.Elem()
			case inner.Kind() == reflect.Slice:
				inner, path = inner.Elem(), path+"[]"
			case inner.Kind() == reflect.Map:
				inner, path = inner.Elem(), path+".*"
			default:
				peeled = false
			}
		}
		if inner.Kind() != reflect.Struct {
			continue
		}
		if inner != f.typ {
			value = defaultsOf(inner, nil)
		}
		describe(all, path+".", inner, value, docs, outer)
	}
}

// words says what a setting holds.
func (f *field) words() string {
	if f.one {
		return words(f.typ.Elem()) + ", or " + typeWords(f.typ)
	}
	return typeWords(f.typ)
}

// typeWords is words with what lists and maps hold.
func typeWords(t reflect.Type) string {
	plain := func(t reflect.Type) string {
		w := words(t)
		for _, article := range []string{"a ", "an "} {
			if rest, ok := strings.CutPrefix(w, article); ok {
				return rest
			}
		}
		return w
	}
	switch {
	case t == blockType || isText(t):
		return words(t)
	case t.Kind() == reflect.Slice:
		return "a list of " + plural(plain(indirect(t.Elem())))
	case t.Kind() == reflect.Map:
		return "a map of names to " + plural(plain(indirect(t.Elem())))
	}
	return words(t)
}

func indirect(t reflect.Type) reflect.Type {
	if t != blockType && t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func plural(word string) string {
	switch {
	case word == "map of settings":
		return "maps of settings"
	case strings.HasPrefix(word, "text"), strings.HasPrefix(word, "true"):
		return word
	case strings.HasSuffix(word, "s"):
		return word + "es"
	}
	return word + "s"
}

// written is a value as YAML has it, "" for one that says nothing.
func written(v reflect.Value) string {
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	if d, ok := reflect.TypeAssert[time.Duration](v); ok {
		return shortDuration(d)
	}
	if v.Type() == secretType {
		return redacted
	}
	if text, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		if b, err := text.MarshalText(); err == nil {
			return string(b)
		}
	}
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = written(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprint(v.Interface())
	}
	return "" // its own settings have their defaults
}

// shortDuration writes 1h for 1h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
