package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// Block is a piece of configuration whose meaning a plug-in knows: `{kind:
// settings}`, or a bare name. It stays a tree until Decode is told its type.
type Block struct {
	// Kind is the one key of the block, or the bare name.
	Kind string
	// Ref is set when the block is a bare name: that of a named block, or of a
	// kind that is used with its defaults.
	Ref bool

	home *home
	slot slot // the settings; the key is that of the kind
	base *Block

	gone   []gone // what Less has left out
	around []spot // of what it has been left out of
}

// block decodes a bare name or {kind: settings}.
func (d *decoder) block(v reflect.Value, s slot) {
	b := &Block{home: d.doc.home}
	switch n := s.node; {
	case n.kind == scalarNode && n.text != "":
		b.Kind, b.Ref = n.text, true
		b.slot.node = &node{kind: mappingNode, file: n.file, at: n.at, size: 1}
	case n.kind == mappingNode && len(n.entries) == 1:
		e := &n.entries[0]
		b.Kind, b.slot = e.key, slot{e.value, e}
		if e.value.kind == nullNode {
			d.fail(b.slot.errorf("%q has no settings; write %s alone, or {%s: {...}}", e.key, e.key, e.key))
			return
		}
	case n.kind == mappingNode && len(n.entries) > 1:
		d.fail(n.file.errorAt(n.entries[1].at,
			"%sa block has one key, its kind, but after %q comes %q; are the settings indented less than they should be?",
			d.where(), n.entries[0].key, n.entries[1].key))
		return
	default:
		d.fail(s.errorf("%swant a block: a name, or {kind: settings}", d.where()))
		return
	}
	v.Set(reflect.ValueOf(b))
}

// settings decodes the settings of a block whose kind is the key itself.
func (d *decoder) settings(v reflect.Value, s slot) {
	if s.node.kind != mappingNode {
		d.fail(s.errorf("%swant a map of settings, not %s", d.where(), s.node.what()))
		return
	}
	v.Set(reflect.ValueOf(&Block{Kind: s.key.key, home: d.doc.home, slot: s}))
}

// Ref makes a bare block that stands where b stands, for what a file leaves out.
func (d *document) ref(kind string, s slot) *Block {
	n := &node{kind: mappingNode, file: s.node.file, at: s.at(), size: 1}
	return &Block{Kind: kind, Ref: true, home: d.home, slot: slot{node: n}}
}

// Over makes a block that takes from base what b does not say itself. A nil base
// changes nothing.
func (b *Block) Over(base *Block) *Block {
	if base == nil {
		return b
	}
	merged := *b
	merged.base = base
	return &merged
}

// Without makes a block that lacks a setting. A nil block stays nil.
func (b *Block) Without(key string) *Block {
	if b == nil || b.slot.node.entry(key) == nil {
		return b
	}
	less, n := *b, *b.slot.node
	n.entries = slices.DeleteFunc(slices.Clone(n.entries), func(e entry) bool { return e.key == key })
	less.slot.node = &n
	return &less
}

// Decode fills the struct that into points to with the settings of the block and
// then has it validated. What the block does not name keeps its value. The error
// is an Errors.
func (b *Block) Decode(into any) error { return b.decode(into, false) }

// DecodePart is Decode for settings that need not be complete, such as defaults
// for other blocks: nothing is required and nothing validated.
func (b *Block) DecodePart(into any) error { return b.decode(into, true) }

func (b *Block) decode(into any, part bool) error {
	var errs Errors
	if b.base != nil {
		if err := b.base.decode(into, true); err != nil {
			found, placed := errors.AsType[Errors](err)
			if !placed {
				return err
			}
			errs, part = found, true // incomplete settings are not judged
		}
	}
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("config: decode into a %T, which is no pointer", into)
	}
	doc := b.doc()
	d := decoder{doc: doc, part: part, from: b, failed: make(map[string]bool)}
	d.value(v.Elem(), b.slot)
	errs = append(errs, doc.finish(doc.certain(d.errs))...)
	if len(errs) == 0 && d.dropped {
		return errIncomplete
	}
	return errs.asError()
}

// errIncomplete is what is wrong with settings that lack what Less has left out, and
// with nothing else.
var errIncomplete = errors.New("incomplete")

// Errors gives the mistakes that err tells, those of kind.At among them, their
// places in the block. Paths that a block does not have point at what comes
// nearest.
func (b *Block) Errors(err error) Errors {
	errs, placed := errors.AsType[Errors](err)
	if !placed {
		doc := b.doc()
		errs = doc.finish(doc.settingErrors(b.find, err)).sorted()
	}
	if len(b.gone) == 0 {
		return errs
	}
	return slices.DeleteFunc(slices.Clone(errs), b.follows)
}

// find looks for a setting in the block and then in what it is laid over.
func (b *Block) find(path string) (found slot, rest string) {
	found, rest = b.slot.find(path)
	if rest != "" && b.base != nil {
		if below, left := b.base.find(path); left == "" {
			return below, ""
		}
	}
	return found, rest
}

// doc is the configuration that the block belongs to.
func (b *Block) doc() *document { return b.home.doc.Load() }

// Pos is where the block stands: its kind.
func (b *Block) Pos() Pos {
	at := b.slot.at()
	return Pos{File: b.slot.node.file.name, Line: at.line, Column: at.column}
}

// Dir is the folder of the file that the block stands in.
func (b *Block) Dir() string { return b.slot.node.file.dir() }

// Fingerprint is equal for blocks that mean the same: kind, settings after the
// expansion of ${...}, and the folder that relative paths start from.
func (b *Block) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %v %q\n", b.Kind, b.Ref, b.Dir())
	b.slot.node.hash(h)
	if b.base != nil {
		fmt.Fprint(h, b.base.Fingerprint())
	}
	return hex.EncodeToString(h.Sum(nil))
}
