package wire

import (
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields may stand in any order on the wire, in pieces, and more than once.
// So a message is first indexed, one level deep: every field gets the chain of
// its occurrences. Then the fields are printed in order. Bytes are looked at
// once for each level they lie in, whatever the sender does.

// chain is the occurrences of a field, first and last; zero is none.
type chain struct{ head, tail int32 }

// occurrence is where a value lies, without tag and length.
type occurrence struct {
	start, end int32
	next       int32
	wtype      protowire.Type
}

// printer reads the wire and writes JSON.
type printer struct {
	home    *home
	wire    []byte
	out     []byte
	slots   []chain      // a stack: fields, then oneofs, of the messages being printed
	occs    []occurrence // a stack; the first is not used, so that zero is none
	entries []mapEntry   // a stack
	depth   int
	partial bool
}

func (h *home) printer(dst, wire []byte) (*printer, *Error) {
	if len(wire) > maxWire {
		return nil, &Error{Msg: "a message of more than 1 GiB"}
	}
	p, ok := h.printers.Get().(*printer)
	if !ok {
		p = &printer{home: h}
	}
	p.wire, p.out, p.depth, p.partial = wire, dst, 0, false
	p.slots, p.occs, p.entries = p.slots[:0], append(p.occs[:0], occurrence{}), p.entries[:0]
	return p, nil
}

// maxWire keeps offsets within 31 bits.
const maxWire = 1 << 30

// whole is the chain that is the whole input.
func (p *printer) whole() int32 {
	return p.occur(0, len(p.wire), protowire.BytesType)
}

// free gives the printer back and returns what it has written.
func (p *printer) free() []byte {
	out := p.out
	p.wire, p.out = nil, nil
	if cap(p.occs) <= keptScratch && cap(p.entries) <= keptScratch && cap(p.slots) <= keptScratch {
		p.home.printers.Put(p)
	}
	return out
}

func (p *printer) fail(at int, msg string) *Error {
	return &Error{Offset: at, Msg: msg}
}

func (p *printer) occur(start, end int, wtype protowire.Type) int32 {
	p.occs = append(p.occs, occurrence{start: int32(start), end: int32(end), wtype: wtype})
	return int32(len(p.occs) - 1)
}

// frame makes empty slots for a message and indexes its pieces.
func (p *printer) frame(plan *Plan, pieces int32) (base int, err *Error) {
	base = len(p.slots)
	n := base + len(plan.fields) + plan.oneofs
	p.slots = slices.Grow(p.slots, n-base)[:n]
	clear(p.slots[base:])
	for o := pieces; o != 0; o = p.occs[o].next {
		if err := p.index(plan, base, int(p.occs[o].start), int(p.occs[o].end)); err != nil {
			return base, err
		}
	}
	return base, nil
}

// index enters the fields of one piece of a message into its slots.
func (p *printer) index(plan *Plan, base, i, end int) *Error {
	for i < end {
		num, wtype, n := p.tag(i, end)
		if n == 0 {
			return p.fail(i, "a malformed tag")
		}
		at := i
		i += n
		start, stop, next := p.extent(num, wtype, i, end)
		if next == 0 {
			return p.fail(at, "a malformed field")
		}
		i = next
		f := plan.field(num)
		if f == nil || wtype != f.wtype && (wtype != protowire.BytesType || f.shape != list || !packable(f.wtype)) {
			continue // unknown, or of a type that the field cannot have
		}
		if err := p.enter(plan, f, base, p.occur(start, stop, wtype)); err != nil {
			return err.under(f.name)
		}
	}
	return nil
}

func packable(t protowire.Type) bool {
	return t == protowire.VarintType || t == protowire.Fixed32Type || t == protowire.Fixed64Type
}

// tag reads a tag; n is 0 if it is malformed.
func (p *printer) tag(i, end int) (num protowire.Number, wtype protowire.Type, n int) {
	if c := p.wire[i]; c < 0x80 {
		num, wtype, n = protowire.Number(c>>3), protowire.Type(c&7), 1
	} else if num, wtype, n = protowire.ConsumeTag(p.wire[i:end]); n < 0 {
		return 0, 0, 0
	}
	if num < protowire.MinValidNumber || num > protowire.MaxValidNumber {
		return 0, 0, 0
	}
	return num, wtype, n
}

// extent tells where a value lies, and where the next field begins: 0 if the
// value is malformed.
func (p *printer) extent(num protowire.Number, wtype protowire.Type, i, end int) (start, stop, next int) {
	switch wtype {
	case protowire.VarintType:
		if i < end && p.wire[i] < 0x80 {
			return i, i + 1, i + 1
		}
		if _, n := protowire.ConsumeVarint(p.wire[i:end]); n > 0 {
			return i, i + n, i + n
		}
	case protowire.Fixed32Type:
		if end-i >= 4 {
			return i, i + 4, i + 4
		}
	case protowire.Fixed64Type:
		if end-i >= 8 {
			return i, i + 8, i + 8
		}
	case protowire.BytesType:
		size, n := uint64(0), 1
		if i < end && p.wire[i] < 0x80 {
			size = uint64(p.wire[i])
		} else if size, n = protowire.ConsumeVarint(p.wire[i:end]); n < 0 {
			return 0, 0, 0
		}
		if i += n; size <= uint64(end-i) {
			return i, i + int(size), i + int(size)
		}
	case protowire.StartGroupType:
		if v, n := protowire.ConsumeGroup(num, p.wire[i:end]); n > 0 {
			return i, i + len(v), i + n
		}
	}
	return 0, 0, 0
}

// enter puts an occurrence into the slot of its field. Pieces of a message are
// kept, to be merged; of a scalar only the last counts; and the member of a
// oneof drives out the one before. What goes is checked, as it would be when
// read into a message.
func (p *printer) enter(plan *Plan, f *field, base int, o int32) *Error {
	slot := &p.slots[base+f.index]
	if f.oneof >= 0 {
		which := &p.slots[base+len(plan.fields)+f.oneof]
		if other := which.head - 1; other >= 0 && int(other) != f.index {
			if err := p.drop(plan.fields[other], p.slots[base+int(other)]); err != nil {
				return err
			}
			p.slots[base+int(other)] = chain{}
		}
		which.head = int32(f.index) + 1
	}
	if slot.head != 0 && f.shape == single && f.plan == nil {
		if err := p.drop(f, *slot); err != nil {
			return err
		}
		*slot = chain{}
	}
	if slot.head == 0 {
		*slot = chain{o, o}
		return nil
	}
	p.occs[slot.tail].next = o
	slot.tail = o
	return nil
}

// drop checks a value that will not be printed.
func (p *printer) drop(f *field, c chain) *Error {
	for o := c.head; o != 0; o = p.occs[o].next {
		start, end := int(p.occs[o].start), int(p.occs[o].end)
		if f.utf8 && !utf8.Valid(p.wire[start:end]) {
			return p.fail(start, "invalid UTF-8")
		}
		if f.plan != nil {
			if err := p.check(f.plan, start, end, p.depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// check goes through a message that will not be printed, and finds what makes
// it no message: malformed fields and invalid UTF-8.
func (p *printer) check(plan *Plan, i, end, depth int) *Error {
	if depth++; depth > p.home.o.MaxDepth {
		return p.fail(i, "nested too deep")
	}
	for i < end {
		num, wtype, n := p.tag(i, end)
		if n == 0 {
			return p.fail(i, "a malformed tag")
		}
		start, stop, next := p.extent(num, wtype, i+n, end)
		if next == 0 {
			return p.fail(i, "a malformed field")
		}
		i = next
		f := plan.field(num)
		switch {
		case f == nil:
		case f.plan != nil && wtype == f.wtype:
			if err := p.check(f.plan, start, stop, depth); err != nil {
				return err
			}
		case wtype == f.wtype && f.utf8 && !utf8.Valid(p.wire[start:stop]):
			return p.fail(start, "invalid UTF-8")
		case wtype == protowire.BytesType && f.shape == list && packable(f.wtype) && !p.isPacked(f.wtype, start, stop):
			return p.fail(start, "a malformed packed list")
		}
	}
	return nil
}

// isPacked tells whether bytes are values of one type, one behind the other.
func (p *printer) isPacked(wtype protowire.Type, i, end int) bool {
	for i < end {
		_, _, next := p.extent(0, wtype, i, end)
		if next == 0 {
			return false
		}
		i = next
	}
	return true
}
