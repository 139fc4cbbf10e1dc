// Package kind is the one plug-in table. A middleware, a discovery source or a
// balancing policy registers itself under the name that configuration files
// use, and from then on check, explain, kinds, schema and the generated
// reference know it:
//
//	func init() {
//		kind.Add(Kinds, "header_guard", HeaderGuardConfig{Max: 64}, newHeaderGuard)
//	}
//
// The configuration struct documents itself: its doc comment describes the
// kind and holds a YAML example as an indented block; the doc comment of each
// field describes a setting. Fields carry `yaml:"name"` tags; the defaults are
// the value given to Add. If the struct or a nested one has the method
// Validate() error, it is called after decoding; At gives its errors a place.
package kind

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
)

// Table holds the kinds of one sort. E is what a build gets, T what it makes.
type Table[E, T any] struct {
	noun   string
	source fs.FS
	kinds  map[string]*Kind[E, T]
}

// Kind is one entry of a table.
type Kind[E, T any] struct {
	Name     string
	defaults any
	decode   func(Decoder) (Settings[E, T], error)
}

// Decoder fills the struct that into points to from the settings of a block.
// What the block does not name keeps its value.
type Decoder func(into any) error

// Settings are a decoded block, ready to be built.
type Settings[E, T any] struct {
	Value any // the configuration struct
	Build func(E) (T, error)
}

// NewTable makes an empty table. noun names its entries in errors ("middleware",
// "discovery source"); source is the Go source of the package that fills it,
// from which the documentation is read.
func NewTable[E, T any](noun string, source fs.FS) *Table[E, T] {
	return &Table[E, T]{noun: noun, source: source, kinds: make(map[string]*Kind[E, T])}
}

// Add registers a kind. It is for init functions and panics on a second
// registration of a name.
func Add[C, E, T any](t *Table[E, T], name string, defaults C, build func(C, E) (T, error)) {
	if _, taken := t.kinds[name]; taken {
		panic(fmt.Sprintf("kind: %s %q registered twice", t.noun, name))
	}
	t.kinds[name] = &Kind[E, T]{
		Name: name, defaults: defaults,
		decode: func(decode Decoder) (Settings[E, T], error) {
			c := defaults
			if err := decode(&c); err != nil {
				return Settings[E, T]{}, err
			}
			return Settings[E, T]{Value: c, Build: func(env E) (T, error) { return build(c, env) }}, nil
		},
	}
}

// Get finds a kind by name.
func (t *Table[E, T]) Get(name string) (*Kind[E, T], bool) {
	k, ok := t.kinds[name]
	return k, ok
}

// Names are the registered names, sorted.
func (t *Table[E, T]) Names() []string { return slices.Sorted(maps.Keys(t.kinds)) }

// Noun is what an entry of the table is called.
func (t *Table[E, T]) Noun() string { return t.noun }

// Source is the Go source that documents the kinds.
func (t *Table[E, T]) Source() fs.FS { return t.source }

// Type is the type of the configuration struct of a kind.
func (k *Kind[E, T]) Type() reflect.Type { return reflect.TypeOf(k.defaults) }

// Defaults is a copy of the configuration struct with its default values.
func (k *Kind[E, T]) Defaults() any { return k.defaults }

// Decode fills a copy of the defaults with decode.
func (k *Kind[E, T]) Decode(decode Decoder) (Settings[E, T], error) { return k.decode(decode) }

// SettingError is an operator's mistake in one setting.
type SettingError struct {
	Path string // of the setting within its block: "split.canary", "rules[2].cidr"; "" is the block
	Err  error

	Line, Column int // within the text of the setting, from 1; 0 is all of it
}

func (e *SettingError) Error() string {
	if e.Path == "" {
		return e.Err.Error()
	}
	return e.Path + ": " + e.Err.Error()
}

func (e *SettingError) Unwrap() error { return e.Err }

// At makes an error about the setting at path, for Validate methods and build
// functions. Several of them go together with errors.Join.
func At(path, format string, args ...any) error {
	return &SettingError{Path: path, Err: fmt.Errorf(format, args...)}
}

// In is At for a place within a text, such as an expression, in lines and
// characters from 1.
func In(path string, line, column int, format string, args ...any) error {
	return &SettingError{Path: path, Err: fmt.Errorf(format, args...), Line: line, Column: column}
}

// SettingErrors takes err apart into the setting errors that it joins. An error
// that names no setting is about the whole block.
func SettingErrors(err error) []*SettingError {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*SettingError
		for _, e := range joined.Unwrap() {
			all = append(all, SettingErrors(e)...)
		}
		return all
	}
	if se, ok := errors.AsType[*SettingError](err); ok {
		return []*SettingError{se}
	}
	return []*SettingError{{Err: err}}
}
