package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decoder fills Go values from a tree. It goes on after a mistake, so that all
// of them are told at once.
type decoder struct {
	doc  *document
	errs Errors
	path []string // of the value being decoded, for messages

	// part leaves out what only a complete set of settings can satisfy: required
	// fields and Validate.
	part bool

	from *Block // whose settings are decoded, or nil
}

type (
	defaulter interface{ SetDefaults() }
	validator interface{ Validate() error }
)

var blockType = reflect.TypeFor[*Block]()

func (d *decoder) fail(e *Error) bool {
	d.errs = append(d.errs, e)
	return false
}

func (d *decoder) in(name string, decode func() bool) bool {
	d.path = append(d.path, name)
	ok := decode()
	d.path = d.path[:len(d.path)-1]
	return ok
}

// where is the path of the value as a prefix for a message.
func (d *decoder) where() string {
	if path := d.name(); path != "" {
		return path + ": "
	}
	return ""
}

func (d *decoder) name() string { return strings.ReplaceAll(strings.Join(d.path, "."), ".[", "[") }

// value decodes s into v, which must be addressable. It says whether all went well.
func (d *decoder) value(v reflect.Value, s slot) bool {
	if s.node.kind == nullNode {
		return d.fail(s.errorf("%s has no value; give it one or remove it", cmp.Or(d.name(), "the file")))
	}
	if v.Type() == blockType {
		return d.block(v, s)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return d.pointer(v, s)
	case reflect.Struct:
		if s.node.kind == mappingNode {
			return d.structure(v, s)
		}
	case reflect.Map:
		return d.mapping(v, s)
	case reflect.Slice:
		if !isText(v.Type()) {
			return d.sequence(v, s)
		}
	}
	if v.Kind() == reflect.Struct && !isText(v.Type()) {
		return d.fail(s.errorf("%swant a map of settings, not %s", d.where(), s.node.what()))
	}
	if s.node.kind != scalarNode {
		return d.fail(s.errorf("%swant %s, not %s", d.where(), words(v.Type()), s.node.what()))
	}
	return d.scalar(v, s)
}

func (d *decoder) scalar(v reflect.Value, s slot) bool {
	if err := setScalar(v, s.node); err != nil {
		if s.node.expanded {
			return d.fail(s.errorf("the value of %s is not %s", s.node.raw, words(v.Type())))
		}
		e := s.errorf("%v", err)
		e.Err = err
		return d.fail(e)
	}
	if v.Type() == secretType {
		d.doc.secret(s)
	}
	return d.validate(v, s)
}

func (d *decoder) pointer(v reflect.Value, s slot) bool {
	p := reflect.New(v.Type().Elem())
	if v.IsNil() {
		setDefaults(p.Elem())
	} else {
		p.Elem().Set(v.Elem()) // a copy: the defaults of a kind are shared by all its blocks
	}
	v.Set(p)
	d.doc.record(p.Elem(), 1, s)
	return d.value(p.Elem(), s)
}

func (d *decoder) sequence(v reflect.Value, s slot) bool {
	if s.node.kind != sequenceNode {
		hint := ""
		if s.node.kind == scalarNode {
			hint = fmt.Sprintf("; write [%s]", s.node.raw)
		}
		return d.fail(s.errorf("%swant a list, not %s%s", d.where(), s.node.what(), hint))
	}
	list := reflect.MakeSlice(v.Type(), len(s.node.items), len(s.node.items))
	v.Set(list)
	if len(s.node.items) > 0 {
		d.doc.record(list.Index(0), list.Len(), s)
	}
	ok := true
	for i, item := range s.node.items {
		elem := list.Index(i)
		setDefaults(elem)
		ok = d.in("["+strconv.Itoa(i)+"]", func() bool { return d.value(elem, slot{node: item}) }) && ok
	}
	return ok && d.validate(v, s)
}

func (d *decoder) mapping(v reflect.Value, s slot) bool {
	if s.node.kind != mappingNode {
		return d.fail(s.errorf("%swant a map, not %s", d.where(), s.node.what()))
	}
	m := reflect.MakeMapWithSize(v.Type(), len(s.node.entries))
	v.Set(m)
	ok := true
	for i := range s.node.entries {
		e := &s.node.entries[i]
		elem := reflect.New(v.Type().Elem()).Elem()
		setDefaults(elem)
		ok = d.in(e.key, func() bool { return d.value(elem, slot{e.value, e}) }) && ok
		m.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), elem)
	}
	return ok && d.validate(v, s)
}

func (d *decoder) structure(v reflect.Value, s slot) bool {
	info := fieldsOf(v.Type())
	ok := true
	given := make(map[string]bool, len(s.node.entries))
	for i := range s.node.entries {
		e := &s.node.entries[i]
		f, known := info.byName(e.key)
		if !known {
			ok = d.unknown(info, e)
			continue
		}
		given[f.name] = true
		to := v.FieldByIndex(f.index)
		ok = d.in(f.name, func() bool {
			if f.settings {
				return d.settings(to, slot{e.value, e})
			}
			return d.value(to, slot{e.value, e})
		}) && ok
	}
	for _, f := range info {
		if given[f.name] {
			continue
		}
		if f.required && !d.part {
			ok = d.fail(s.errorf("%s%q is required", d.where(), f.name))
		} else if ok {
			ok = d.absent(v.FieldByIndex(f.index), s)
		}
	}
	return ok && d.validate(v, s)
}

// absent validates a struct that no key names: its defaults may be wrong
// together with what its plug-in was told.
func (d *decoder) absent(v reflect.Value, s slot) bool {
	if v.Kind() != reflect.Struct || isText(v.Type()) {
		return true
	}
	ok := true
	for _, f := range fieldsOf(v.Type()) {
		ok = d.absent(v.FieldByIndex(f.index), s) && ok
	}
	return ok && d.validate(v, s)
}

func (d *decoder) validate(v reflect.Value, s slot) bool {
	check, has := reflect.TypeAssert[validator](v.Addr())
	if !has || d.part {
		return true
	}
	err := check.Validate()
	if err == nil {
		return true
	}
	find := s.find
	if d.from != nil && d.from.slot.node == s.node {
		find = d.from.find
	}
	d.errs = append(d.errs, d.doc.settingErrors(find, err)...)
	return false
}

func (d *decoder) unknown(info fields, e *entry) bool {
	names := info.names()
	hint := Suggest(e.key, names)
	if f, known := info.byName(nearest(e.key, names)); known && f.typ == secretType {
		d.doc.secret(slot{e.value, e}) // a secret under a misspelt name is one all the same
	}
	if hint == "" && len(d.path) == 0 && e.key == "version" {
		hint = "; a configuration has no version, each release of pithead refuses what it does not know: see its changelog"
	}
	if hint == "" && len(names) > 0 && len(names) <= 12 {
		hint = "; known are " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
	}
	return d.fail(e.value.file.errorAt(e.at, "%sunknown key %q%s", d.where(), e.key, hint))
}

// setDefaults prepares a new value: inner structs first, so that an outer one
// can change what an inner one says.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		setDefaults(v.FieldByIndex(f.index))
	}
	if def, ok := reflect.TypeAssert[defaulter](v.Addr()); ok {
		def.SetDefaults()
	}
}
