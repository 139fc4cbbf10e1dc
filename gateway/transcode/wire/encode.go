package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// encoder reads JSON and writes the wire.
type encoder struct {
	scanner

	home    *home
	out     []byte
	seen    []uint64 // a stack of bit sets: fields, then oneofs, of the open messages
	keys    []span   // a stack of map keys, of the open maps
	dropped []byte   // the keys of entries whose value was discarded
	table   []uint32 // for finding duplicate keys
	partial bool     // required fields may be missing
}

// keptScratch is how large a scratch buffer may be to be used again.
const keptScratch = 1 << 16

func (h *home) encoder(dst, json []byte) *encoder {
	e, ok := h.encoders.Get().(*encoder)
	if !ok {
		e = &encoder{home: h}
	}
	e.in, e.pos, e.depth, e.max, e.out, e.partial = json, 0, 0, h.o.MaxDepth, dst, false
	e.seen, e.keys, e.dropped = e.seen[:0], e.keys[:0], e.dropped[:0]
	return e
}

// free gives the encoder back and returns what it has written.
func (e *encoder) free() []byte {
	out := e.out
	e.in, e.out = nil, nil
	if cap(e.text) <= keptScratch && cap(e.dropped) <= keptScratch && cap(e.keys) <= keptScratch && cap(e.table) <= keptScratch {
		e.home.encoders.Put(e)
	}
	return out
}

// message reads a value and appends what is inside the message, without its length.
func (e *encoder) message(p *Plan) *Error {
	switch p.known {
	case ordinary, empty:
		return e.object(p, false)
	case anyMessage:
		return e.any(p)
	case structMessage, listValue:
		return e.repeated(p.fields[0])
	case value:
		return e.value(p)
	case wrapper:
		return e.tagged(p.fields[0])
	default:
		return e.textual(p)
	}
}

// repeated reads an array or the object of a map.
func (e *encoder) repeated(f *field) *Error {
	if f.shape == mapping {
		return e.mapping(f)
	}
	return e.list(f)
}

// object reads the members of a message.
func (e *encoder) object(p *Plan, inAny bool) *Error {
	if err := e.open('{'); err != nil {
		return err
	}
	base, missing, next, typed := e.mark(p), p.required, 0, false
	for first := true; ; first = false {
		more, err := e.more('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		at := e.pos
		f, name, err := e.member(p, next)
		if err != nil {
			return err
		}
		if f == nil {
			if err := e.stranger(name, at, inAny, &typed); err != nil {
				return err
			}
			continue
		}
		next = f.index + 1
		set, err := e.set(f, p, base, at)
		if err != nil {
			return err.under(f.name)
		}
		if f.required && set {
			missing--
		}
	}
	if missing > 0 && !e.partial {
		return e.missing(p, base)
	}
	e.seen = e.seen[:base]
	return nil
}

// mark makes room for the bit set of a message.
func (e *encoder) mark(p *Plan) (base int) {
	base = len(e.seen)
	for range (len(p.fields) + p.oneofs + 63) / 64 {
		e.seen = append(e.seen, 0)
	}
	return base
}

// once sets a bit, and tells whether it was not set before.
func (e *encoder) once(base, bit int) bool {
	word := &e.seen[base+bit>>6]
	was := *word
	*word |= 1 << (bit & 63)
	return was != *word
}

// member reads a name and finds its field. Most senders keep the order of the
// declaration, so the field after the last one is tried first. The name is
// given back only if there is no such field.
func (e *encoder) member(p *Plan, next int) (f *field, name []byte, err *Error) {
	if e.pos >= len(e.in) || e.in[e.pos] != '"' {
		return nil, nil, e.unexpected("a name in quotes")
	}
	if next < len(p.fields) {
		f := p.fields[next]
		if n := len(f.quoted); n > 0 && e.pos+n <= len(e.in) && string(e.in[e.pos:e.pos+n]) == string(f.quoted) {
			e.pos += n
			return f, nil, e.colon()
		}
	}
	if name, err = e.name(); err != nil {
		return nil, nil, err
	}
	return p.byName[string(name)], name, nil
}

// stranger reads the value of a member that is no field.
func (e *encoder) stranger(name []byte, at int, inAny bool, typed *bool) *Error {
	if inAny && string(name) == "@type" {
		if *typed {
			return (&Error{Offset: at, Msg: "duplicate member"}).under("@type")
		}
		*typed = true
		return e.skip()
	}
	if !e.home.o.DiscardUnknown {
		return (&Error{Offset: at, Msg: "unknown field"}).under(string(name))
	}
	return e.skip()
}

// set reads the value of a field and writes it with its tag. Null is like an
// absent member where the field has no value of that kind.
func (e *encoder) set(f *field, p *Plan, base, at int) (bool, *Error) {
	if !e.once(base, f.index) {
		return false, &Error{Offset: at, Msg: "duplicate member"}
	}
	if e.peek() == 'n' && !f.null {
		return false, e.literal("null")
	}
	if f.shape != single {
		return true, e.repeated(f)
	}
	if f.oneof >= 0 && !e.once(base, len(p.fields)+f.oneof) {
		return false, &Error{Offset: at, Msg: "another member of the same oneof is set"}
	}
	before := len(e.out)
	err := e.tagged(f)
	return len(e.out) > before, err
}

func (e *encoder) missing(p *Plan, base int) *Error {
	for _, f := range p.fields {
		if f.required && e.once(base, f.index) {
			return e.fail("a required field is missing").under(f.name)
		}
	}
	return e.fail("a required field is missing")
}

// tagged reads one value and writes it with its tag.
func (e *encoder) tagged(f *field) *Error {
	start := len(e.out)
	e.out = append(e.out, f.tag...)
	payload := len(e.out)
	if err := e.payload(f); err != nil {
		return err
	}
	if len(e.out) == payload && f.kind != protoreflect.GroupKind || f.implicit && isZero(f.wtype, e.out[payload:]) {
		e.out = e.out[:start]
	}
	return nil
}

// isZero tells the zero of a scalar: a zero varint, no bytes, a zero number.
func isZero(wtype protowire.Type, payload []byte) bool {
	switch wtype {
	case protowire.Fixed32Type:
		return string(payload) == "\x00\x00\x00\x00"
	case protowire.Fixed64Type:
		return string(payload) == "\x00\x00\x00\x00\x00\x00\x00\x00"
	default:
		return payload[0] == 0
	}
}

// payload reads one value and writes what stands behind its tag: nothing for
// an enum whose name is unknown and discarded.
func (e *encoder) payload(f *field) *Error {
	switch f.kind {
	case protoreflect.MessageKind:
		start := e.reserve()
		if err := e.message(f.plan); err != nil {
			return err
		}
		e.fix(start)
		return nil
	case protoreflect.GroupKind:
		err := e.message(f.plan)
		e.out = append(e.out, f.end...)
		return err
	default:
		return e.scalar(f)
	}
}

// reserve leaves one byte for a length that is not known yet.
func (e *encoder) reserve() (start int) {
	e.out = append(e.out, 0)
	return len(e.out)
}

// fix enters the length of what was written since reserve. Most lengths fit
// into the byte; else what was written moves up, which costs less than to
// measure it beforehand. It returns where the content begins then.
func (e *encoder) fix(start int) int {
	n := len(e.out) - start
	if n < 0x80 {
		e.out[start-1] = byte(n)
		return start
	}
	moved := start - 1 + protowire.SizeVarint(uint64(n))
	var room [9]byte
	e.out = append(e.out, room[:moved-start]...)
	copy(e.out[moved:], e.out[start:start+n])
	protowire.AppendVarint(e.out[:start-1], uint64(n))
	return moved
}

// list reads an array.
func (e *encoder) list(f *field) *Error {
	if err := e.open('['); err != nil {
		return err
	}
	tag := len(e.out)
	var start int
	if f.packed {
		e.out = append(e.out, f.tag...)
		start = e.reserve()
	}
	for i := 0; ; i++ {
		more, err := e.more(']', i == 0)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if f.packed {
			err = e.scalar(f)
		} else {
			err = e.tagged(f)
		}
		if err != nil {
			return err.at(i)
		}
	}
	switch {
	case !f.packed:
	case len(e.out) == start:
		e.out = e.out[:tag]
	default:
		e.fix(start)
	}
	return nil
}
