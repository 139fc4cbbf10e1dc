package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway/kind"
)

// decoder fills Go values from a tree. It goes on after a mistake, so that all
// of them are told at once.
type decoder struct {
	doc  *document
	errs Errors
	path []string // of the value being decoded, for messages

	// failed has the settings that have been complained of, by path, and with
	// false those that only hold one that could not be decoded.
	failed map[string]bool

	// part leaves out what only a complete set of settings can satisfy: required
	// fields and Validate.
	part bool

	from *Block // whose settings are decoded, or nil

	dropped bool // a value is not valid, for a reason that has been told
}

type (
	defaulter interface{ SetDefaults() }
	validator interface{ Validate() error }
)

var blockType = reflect.TypeFor[*Block]()

// fail refuses the value being decoded.
func (d *decoder) fail(e *Error) {
	d.errs = append(d.errs, e)
	d.unsure(d.name())
	d.failed[d.name()] = true
}

// unsure marks a setting that has not become what was written, and all around it.
func (d *decoder) unsure(path string) {
	mark := func(path string) {
		if _, known := d.failed[path]; !known {
			d.failed[path] = false
		}
	}
	mark("")
	for i, c := range path {
		if c == '.' || c == '[' {
			mark(path[:i])
		}
	}
	mark(path)
}

// follows says whether a fault that Validate found may be none of its own: the
// setting has failed already, or has one in it that did, or is told to be wrong
// together with one beside it. What has failed holds its default, which proves
// nothing.
func (d *decoder) follows(path, msg string) bool {
	full := joinPath(d.name(), path)
	if unsure(d.failed, full) {
		return true
	}
	for word := range strings.FieldsFuncSeq(msg, notInKey) {
		if len(word) > 2 && d.failed[joinPath(d.name(), word)] { // shorter ones are English
			return true
		}
	}
	return false
}

func (d *decoder) in(name string, decode func()) {
	d.path = append(d.path, name)
	decode()
	d.path = d.path[:len(d.path)-1]
}

// where is the path of the value as a prefix for a message.
func (d *decoder) where() string {
	if path := d.name(); path != "" {
		return path + ": "
	}
	return ""
}

func (d *decoder) name() string { return strings.ReplaceAll(strings.Join(d.path, "."), ".[", "[") }

func joinPath(base, path string) string {
	if base == "" || path == "" || path[0] == '[' {
		return base + path
	}
	return base + "." + path
}

// value decodes s into v, which must be addressable.
func (d *decoder) value(v reflect.Value, s slot) {
	if s.node.lost != nil {
		d.errs = append(d.errs, new(*s.node.lost)) // a second time, so that it is known here too
	}
	if s.node.kind == nullNode && s.node.lost != nil {
		d.unsure(d.name())
		d.failed[d.name()] = true
		return
	}
	if s.node.kind == nullNode {
		d.fail(s.errorf("%s has no value; give it one or remove it", cmp.Or(d.name(), "the file")))
		return
	}
	if v.Type() == secretType {
		d.doc.secret(s) // first, because what goes wrong must not show it either
	}
	switch {
	case v.Type() == blockType:
		d.block(v, s)
	case v.Kind() == reflect.Pointer:
		d.pointer(v, s)
	case v.Kind() == reflect.Struct && s.node.kind == mappingNode:
		d.structure(v, s)
	case v.Kind() == reflect.Map:
		d.mapping(v, s)
	case v.Kind() == reflect.Slice && !isText(v.Type()):
		d.sequence(v, s)
	case v.Kind() == reflect.Struct && !isText(v.Type()):
		d.fail(s.errorf("%swant a map of settings, not %s", d.where(), s.node.what()))
	case s.node.kind != scalarNode:
		d.fail(s.errorf("%swant %s, not %s", d.where(), words(v.Type()), s.node.what()))
	default:
		d.scalar(v, s)
	}
}

func (d *decoder) scalar(v reflect.Value, s slot) {
	err := setScalar(v, s.node)
	switch {
	case err == nil:
		d.validate(v, s)
	case s.node.expanded:
		d.fail(s.errorf("the value of %s is not %s", s.node.raw, words(v.Type())))
	default:
		e := s.errorf("%v", err)
		e.Err = err
		d.fail(e)
	}
}

func (d *decoder) pointer(v reflect.Value, s slot) {
	p := reflect.New(v.Type().Elem())
	if v.IsNil() {
		setDefaults(p.Elem())
	} else {
		p.Elem().Set(v.Elem()) // a copy: the defaults of a kind are shared by all its blocks
	}
	v.Set(p)
	d.doc.record(p.Elem(), 1, s)
	d.value(p.Elem(), s)
}

func (d *decoder) sequence(v reflect.Value, s slot) {
	if s.node.kind != sequenceNode {
		hint := ""
		if s.node.kind == scalarNode {
			hint = fmt.Sprintf("; write [%s]", s.node.raw)
		}
		d.fail(s.errorf("%swant a list, not %s%s", d.where(), s.node.what(), hint))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(s.node.items), len(s.node.items))
	v.Set(list)
	if len(s.node.items) > 0 {
		d.doc.record(list.Index(0), list.Len(), s)
	}
	decode := d.one()
	for i, item := range s.node.items {
		elem := list.Index(i)
		d.in("["+strconv.Itoa(i)+"]", func() { decode(elem, slot{node: item}) })
	}
	d.validate(v, s)
}

// one is how one value of a list or a map is decoded.
func (d *decoder) one() func(reflect.Value, slot) {
	if d.hasElements() {
		return d.element
	}
	return func(v reflect.Value, s slot) {
		setDefaults(v)
		d.value(v, s)
	}
}

// only decodes a list of one element, which stands in the place of the list.
func (d *decoder) only(v reflect.Value, s slot) {
	list := reflect.MakeSlice(v.Type(), 1, 1)
	v.Set(list)
	d.doc.record(list.Index(0), 1, s)
	setDefaults(list.Index(0))
	d.value(list.Index(0), s)
}

func (d *decoder) mapping(v reflect.Value, s slot) {
	if s.node.kind != mappingNode {
		d.fail(s.errorf("%swant a map, not %s", d.where(), s.node.what()))
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(s.node.entries))
	v.Set(m)
	decode := d.one()
	for i := range s.node.entries {
		e := &s.node.entries[i]
		elem := reflect.New(v.Type().Elem()).Elem()
		d.in(e.key, func() { decode(elem, slot{e.value, e}) })
		m.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), elem)
	}
	d.validate(v, s)
}

func (d *decoder) structure(v reflect.Value, s slot) {
	info := fieldsOf(v.Type())
	given := make(map[string]bool, len(s.node.entries))
	for i := range s.node.entries {
		e := &s.node.entries[i]
		f, known := info.byName(e.key)
		if !known {
			d.unknown(info, e)
			continue
		}
		given[f.name] = true
		to := v.FieldByIndex(f.index)
		d.in(f.name, func() {
			switch {
			case f.settings:
				d.settings(to, slot{e.value, e})
			case f.one && e.value.kind != sequenceNode:
				d.only(to, slot{e.value, e})
			default:
				d.value(to, slot{e.value, e})
			}
		})
	}
	for _, f := range info {
		switch {
		case given[f.name]:
		case s.node.lost != nil, slices.Contains(s.node.less, f.name) && (!f.required || !nilable(f.typ)):
			d.unsure(joinPath(d.name(), f.name))
			d.failed[joinPath(d.name(), f.name)] = true
		case f.required && !d.part:
			e := s.errorf("%s%q is required", d.where(), f.name)
			d.in(f.name, func() { d.fail(e) })
		default:
			d.in(f.name, func() { d.absent(v.FieldByIndex(f.index), s) })
		}
	}
	d.validate(v, s)
}

// nilable says whether code may rely on more than a value of the type.
func nilable(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
}

// absent validates a struct that no key names: its defaults may be wrong
// together with what its plug-in was told.
func (d *decoder) absent(v reflect.Value, s slot) {
	if v.Kind() != reflect.Struct || isText(v.Type()) {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		d.in(f.name, func() { d.absent(v.FieldByIndex(f.index), s) })
	}
	d.validate(v, s)
}

// validate asks a value what is wrong with it, even when some of its settings
// have failed, and tells what does not follow from them.
func (d *decoder) validate(v reflect.Value, s slot) {
	check, has := reflect.TypeAssert[validator](v.Addr())
	if !has || d.part {
		return
	}
	err := check.Validate()
	if err == nil {
		return
	}
	find := s.find
	if d.from != nil && d.from.slot.node == s.node {
		find = d.from.find
	}
	faults := kind.SettingErrors(err)
	total := len(faults)
	faults = slices.DeleteFunc(faults, func(fault *kind.SettingError) bool {
		return d.follows(strings.TrimPrefix(fault.Path, "."), fault.Err.Error())
	})
	d.dropped = d.dropped || len(faults) < total
	for _, fault := range faults {
		d.errs = append(d.errs, d.doc.settingErrors(find, fault)...)
		d.failed[joinPath(d.name(), strings.TrimPrefix(fault.Path, "."))] = true
	}
}

func (d *decoder) unknown(info fields, e *entry) {
	names := info.names()
	hint := Suggest(e.key, names)
	d.unsure(d.name())
	if f, known := info.byName(nearest(e.key, names)); known {
		d.failed[joinPath(d.name(), f.name)] = true
		if f.typ == secretType {
			d.doc.secret(slot{e.value, e}) // a secret under a misspelt name is one all the same
		}
	}
	if hint == "" && len(d.path) == 0 && e.key == "version" {
		hint = "; a configuration has no version, each release of pithead refuses what it does not know: see its changelog"
	}
	if hint == "" && len(names) > 0 && len(names) <= 12 {
		hint = "; known are " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
	}
	d.errs = append(d.errs, e.value.file.errorAt(e.at, "%sunknown key %q%s", d.where(), e.key, hint))
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
