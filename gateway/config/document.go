package config

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pithead/pithead/gateway/pace"
)

// document is what all parts of one configuration share: the files, where each
// decoded value came from, and what must not be shown.
type document struct {
	files []*sourceFile
	order map[*sourceFile]int
	trees []*node
	pace  *pace.Pacer // of what is decoded while requests are served; else nil

	open     func(sealed string) (string, error) // opens sealed values; nil: there is nobody who could
	standIns bool                                // what open returns only stands for what is sealed
	closed   map[Pos]bool                        // where such values stand

	values  []value // where Pos finds a pointer, sorted by address once decoded
	parts   map[*sourceFile]*part
	into    *part // whose element is being decoded; nil: what is decoded is part of no other configuration
	home    *home // of the blocks that are decoded here
	decoded bool

	mu       sync.Mutex // guards what follows
	secrets  map[*node]bool
	masks    map[*sourceFile][]mask
	warnings Errors
	hidden   []hidden
}

// value is a piece of memory that was filled from slot: n values of type typ,
// one after the other.
type value struct {
	base uintptr
	typ  reflect.Type
	n    int
	slot slot
}

// hidden is a secret and what errors show in its place. Secrets are settings of
// that type and whatever comes from a ${file:}. The value of a plain ${NAME} is
// shown like any other: an address in use is of no help without it.
type hidden struct{ text, shown string }

func newDocument(files []*sourceFile, p *pace.Pacer) *document {
	d := &document{
		files: files, pace: p, order: make(map[*sourceFile]int, len(files)),
		parts: make(map[*sourceFile]*part), home: new(home),
		closed: make(map[Pos]bool), secrets: make(map[*node]bool), masks: make(map[*sourceFile][]mask),
	}
	for i, s := range files {
		d.order[s] = i
	}
	d.home.doc.Store(d)
	return d
}

func (d *document) expand(n *node) error {
	if err := expandWith(n, d.open); err != nil {
		return err
	}
	for _, h := range n.fromFiles {
		d.conceal(h)
	}
	if n.sealed && d.standIns {
		d.closed[Pos{n.file.name, n.at.line, n.at.column}] = true
	}
	return nil
}

// record remembers that n values, of which first is the first, come from s. The
// collector does not move values, so their addresses are good names for them.
func (d *document) record(first reflect.Value, n int, s slot) {
	if d.decoded {
		return
	}
	to := &d.values
	if d.into != nil {
		to = &d.into.values
	}
	*to = append(*to, value{first.Addr().Pointer(), first.Type(), n, s})
}

// seal ends the recording: what blocks are decoded into later is not ours to name.
func (d *document) seal() {
	d.decoded = true
	byAddress := func(a, b value) int { return cmp.Compare(a.base, b.base) }
	slices.SortFunc(d.values, byAddress)
	for _, p := range d.parts {
		if p.home == d.home { // the others are sorted, and not ours alone
			slices.SortFunc(p.values, byAddress)
		}
	}
}

// lookup finds where the value behind a pointer came from. own is false when the
// file does not have it; then it is the place of the value around it.
func (c *Config) lookup(field any) (found slot, own bool) {
	if b, ok := field.(*Block); ok && b != nil {
		return b.slot, true
	}
	p := reflect.ValueOf(field)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return c.root, false
	}
	v, ok := c.doc.search(p.Pointer())
	if !ok {
		return c.root, false
	}
	size := v.typ.Size()
	off := p.Pointer() - v.base
	s := v.slot
	if s.node.kind == sequenceNode && v.typ.Kind() != reflect.Slice {
		s = slot{node: s.node.items[off/size]}
	}
	return descend(v.typ, off%size, s, p.Type().Elem())
}

// descend goes from a value of type t to the one of type want that lies off
// bytes inside it.
func descend(t reflect.Type, off uintptr, s slot, want reflect.Type) (slot, bool) {
	if t == want && off == 0 {
		return s, true
	}
	if t.Kind() != reflect.Struct {
		return s, false
	}
	for _, f := range fieldsOf(t) {
		start := offsetOf(t, f.index)
		if off < start || off >= start+f.typ.Size() {
			continue
		}
		if e := s.node.entry(f.name); e != nil {
			return descend(f.typ, off-start, slot{e.value, e}, want)
		}
		break
	}
	return s, false
}

func offsetOf(t reflect.Type, index []int) uintptr {
	var off uintptr
	for _, i := range index {
		f := t.Field(i)
		off, t = off+f.Offset, f.Type
	}
	return off
}

// secret masks a value wherever a line of its file is shown.
func (d *document) secret(s slot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.secrets[s.node] {
		return
	}
	d.secrets[s.node] = true
	if s.node.exposed != "" {
		d.warnings = append(d.warnings, s.errorf("everybody on this machine can read the secret in %s; chmod o-r it", s.node.exposed))
	}
	if s.node.kind == scalarNode && publicReference(s.node.raw) {
		d.conceal(hidden{s.node.text, s.node.raw})
		return
	}
	s.node.walk(func(n *node) {
		d.masks[n.file] = append(d.masks[n.file], mask{n.at, n.end})
		if n.kind == scalarNode {
			d.conceal(hidden{n.text, redacted})
		}
	})
}

const redacted = "[redacted]"

// publicReference says whether a scalar is nothing but a reference to a secret,
// which tells nothing. A default after :- is a secret itself.
func publicReference(raw string) bool {
	return strings.HasPrefix(raw, "${") && strings.Index(raw, "}") == len(raw)-1 && !strings.Contains(raw, ":-")
}

// minHidden is the length of the secrets that are hidden everywhere. Every
// message would have some of the shorter ones.
const minHidden = 4

// conceal keeps the longest first: a secret may be the beginning of another.
func (d *document) conceal(h hidden) {
	i, _ := slices.BinarySearchFunc(d.hidden, h, func(a, b hidden) int { return cmp.Compare(len(b.text), len(a.text)) })
	d.hidden = slices.Insert(d.hidden, i, h)
}

// scrub takes short secrets out of a message about their own setting.
func (d *document) scrub(n *node, msg string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := n.fromFiles
	if d.secrets[n] && n.expanded {
		own = append([]hidden{{n.text, n.raw}}, own...)
	}
	for _, h := range own {
		if len(h.text) < minHidden {
			msg = replaceText(msg, h.text, h.shown)
		}
	}
	return msg
}

// hide takes out all secrets that are known by now.
func (d *document) hide(msg string) string {
	for _, h := range d.hidden {
		if len(h.text) >= minHidden {
			msg = replaceText(msg, h.text, h.shown)
		}
	}
	return msg
}

// replaceText leaves alone what it has put in before.
func replaceText(msg, text, shown string) string {
	if text == "" {
		return msg
	}
	quoted := strconv.Quote(text)
	replacer := strings.NewReplacer(text, shown, quoted[1:len(quoted)-1], shown)
	parts := strings.Split(msg, shown)
	for i, part := range parts {
		parts[i] = replacer.Replace(part)
	}
	return strings.Join(parts, shown)
}

// mask is a piece of a file, from one place to before another, that is not shown.
type mask struct{ from, to place }

// masked is a line of a file with its secrets overwritten. Its length stays, so
// that the caret under it points where it should. It needs d.mu.
func (d *document) masked(s *sourceFile, n int) string {
	line := s.line(n)
	for _, m := range d.masks[s] {
		if n < m.from.line || m.to.line > 0 && n > m.to.line {
			continue
		}
		runes := []rune(line)
		from, to := 0, len(runes)
		if n == m.from.line {
			from = min(m.from.column-1, to)
		}
		if n == m.to.line {
			to = max(from, min(m.to.column-1, to))
		}
		for i := from; i < to; i++ {
			if runes[i] != ' ' && runes[i] != '\t' {
				runes[i] = '*'
			}
		}
		line = string(runes)
	}
	return line
}

// certain leaves out what has been found wrong with values that only stand for
// sealed ones.
func (d *document) certain(errs Errors) Errors {
	if len(d.closed) == 0 {
		return errs
	}
	return slices.DeleteFunc(errs, func(e *Error) bool { return d.closed[e.Pos] })
}

// finish shows the source lines and takes secrets out of the messages. Both come
// last: what is secret is not known when an error is made.
func (d *document) finish(errs Errors) Errors {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range errs {
		e.Msg = d.hide(e.Msg)
		if i, ours := d.order[e.source]; ours {
			e.file = i
			e.Source, e.caret = excerpt(d.masked(e.source, e.Line), e.Column)
		}
	}
	return errs
}
