package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// message prints a message that lies in pieces.
func (p *printer) message(plan *Plan, pieces int32) *Error {
	slots, occs := len(p.slots), len(p.occs)
	base, err := p.frame(plan, pieces)
	if err == nil && plan.required > 0 && !p.partial {
		err = p.complete(plan, base)
	}
	if err != nil {
		return err
	}
	switch plan.known {
	case ordinary, empty:
		err = p.object(plan, base)
	default:
		err = p.wellKnown(plan, base)
	}
	p.slots, p.occs = p.slots[:slots], p.occs[:occs]
	return err
}

// complete makes sure that required fields are there.
func (p *printer) complete(plan *Plan, base int) *Error {
	for _, f := range plan.fields {
		if f.required && p.slots[base+f.index].head == 0 {
			return p.fail(0, "a required field is missing").under(f.name)
		}
	}
	return nil
}

// open begins an object or an array.
func (p *printer) open(bracket byte) *Error {
	if p.depth++; p.depth > p.home.o.MaxDepth {
		return p.fail(0, "nested too deep")
	}
	p.out = append(p.out, bracket)
	return nil
}

// end ends an object or an array.
func (p *printer) end(bracket byte) {
	p.depth--
	p.out = append(p.out, bracket)
}

// object prints the fields of a message.
func (p *printer) object(plan *Plan, base int) *Error {
	if err := p.open('{'); err != nil {
		return err
	}
	if err := p.members(plan, base); err != nil {
		return err
	}
	p.end('}')
	return nil
}

func (p *printer) members(plan *Plan, base int) *Error {
	for i, f := range plan.fields {
		c := p.slots[base+i]
		if c.head == 0 && !f.emit {
			continue
		}
		if err := p.member(f, c); err != nil {
			return err.under(f.name)
		}
	}
	return nil
}

// member prints a field with its name. Nothing is left of it if it turns out
// to be a zero without presence or a list without elements.
func (p *printer) member(f *field, c chain) *Error {
	begin := len(p.out)
	label := f.label
	if p.out[begin-1] == '{' {
		label = label[1:]
	}
	p.out = append(p.out, label...)
	set, err := p.value(f, c)
	if err != nil {
		return err
	}
	if !set && !f.emit {
		p.out = p.out[:begin]
	}
	return nil
}

// value prints the value of a field, and tells whether the message has it.
func (p *printer) value(f *field, c chain) (set bool, err *Error) {
	switch f.shape {
	case list:
		return p.list(f, c)
	case mapping:
		return p.mapping(f, c)
	}
	if f.plan != nil {
		return true, p.message(f.plan, c.head)
	}
	if c.head == 0 {
		return false, p.zero(f)
	}
	o := p.occs[c.tail]
	raw := p.wire[o.start:o.end]
	return !f.implicit || !isZeroWire(f, raw), p.scalar(f, raw, int(o.start))
}

// isZeroWire tells the zero of a scalar in what stands behind tag and length. A
// varint may be longer than it must be, and a number narrower than its varint.
func isZeroWire(f *field, raw []byte) bool {
	if f.wtype != protowire.VarintType {
		for _, c := range raw {
			if c != 0 {
				return false
			}
		}
		return f.wtype != protowire.BytesType || len(raw) == 0
	}
	v, _ := protowire.ConsumeVarint(raw)
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Sint32Kind, protoreflect.EnumKind:
		return uint32(v) == 0
	default:
		return v == 0
	}
}

// list prints all occurrences of a field, packed or not.
func (p *printer) list(f *field, c chain) (set bool, err *Error) {
	if err := p.open('['); err != nil {
		return false, err
	}
	begin := len(p.out)
	n := 0
	for o := c.head; o != 0; o = p.occs[o].next {
		occ := p.occs[o]
		switch {
		case f.plan != nil:
			p.comma(begin)
			p.occs[o].next = 0 // one element is one piece
			err = p.message(f.plan, o)
			p.occs[o].next = occ.next
			n++
		case occ.wtype != f.wtype:
			n, err = p.unpack(f, begin, n, int(occ.start), int(occ.end))
		default:
			p.comma(begin)
			err = p.scalar(f, p.wire[occ.start:occ.end], int(occ.start))
			n++
		}
		if err != nil {
			return false, err.at(max(0, n-1))
		}
	}
	p.end(']')
	return n > 0, nil
}

// unpack prints the values of a packed list.
func (p *printer) unpack(f *field, begin, n, i, end int) (int, *Error) {
	for i < end {
		start, stop, next := p.extent(0, f.wtype, i, end)
		if next == 0 {
			return n, p.fail(i, "a malformed packed list")
		}
		p.comma(begin)
		n++
		if err := p.scalar(f, p.wire[start:stop], start); err != nil {
			return n, err
		}
		i = next
	}
	return n, nil
}

// comma separates from what was printed since begin.
func (p *printer) comma(begin int) {
	if len(p.out) > begin {
		p.out = append(p.out, ',')
	}
}
