package wire

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// wellKnown prints a message that has a form of its own.
func (p *printer) wellKnown(plan *Plan, base int) *Error {
	f := plan.fields[0]
	slot := p.slots[base]
	switch plan.known {
	case wrapper:
		if slot.head == 0 {
			return p.zero(f)
		}
		_, err := p.value(f, slot)
		return err
	case structMessage, listValue:
		_, err := p.value(f, slot)
		return err
	case value:
		return p.anyJSON(plan, base)
	case anyMessage:
		return p.any(base)
	case fieldMask:
		return p.mask(slot)
	default:
		return p.time(plan.known, slot, p.slots[base+1])
	}
}

// anyJSON prints a google.protobuf.Value. One that holds nothing has no form,
// and JSON has no word for numbers that are none.
func (p *printer) anyJSON(plan *Plan, base int) *Error {
	for i, f := range plan.fields {
		slot := p.slots[base+i]
		if slot.head == 0 {
			continue
		}
		at := int(p.occs[slot.tail].start)
		if i == valueNumber {
			v, _ := protowire.ConsumeFixed64(p.wire[at:])
			if n := math.Float64frombits(v); math.IsNaN(n) || math.IsInf(n, 0) {
				return p.fail(at, "a Value with a number that JSON cannot write")
			}
		}
		_, err := p.value(f, slot)
		return err
	}
	return p.fail(0, "a Value without a kind")
}

// time prints a Timestamp or a Duration.
func (p *printer) time(k known, seconds, nanos chain) *Error {
	var secs, frac uint64
	at := 0
	if seconds.head != 0 {
		at = int(p.occs[seconds.tail].start)
		secs, _ = protowire.ConsumeVarint(p.wire[at:])
	}
	if nanos.head != 0 {
		frac, _ = protowire.ConsumeVarint(p.wire[p.occs[nanos.tail].start:])
	}
	appendTime := appendDuration
	if k == timestamp {
		appendTime = appendTimestamp
	}
	var wrong string
	if p.out, wrong = appendTime(p.out, int64(secs), int32(frac)); wrong != "" {
		return p.fail(at, wrong)
	}
	return nil
}

// mask prints a FieldMask. A path that would read back as another is refused.
func (p *printer) mask(paths chain) *Error {
	p.out = append(p.out, '"')
	begin := len(p.out)
	for o := paths.head; o != 0; o = p.occs[o].next {
		raw := p.wire[p.occs[o].start:p.occs[o].end]
		if !isPath(raw) || !isReversible(raw) {
			return p.fail(int(p.occs[o].start), "a FieldMask with a path that JSON cannot write")
		}
		p.comma(begin)
		upper := false
		for _, c := range raw {
			switch {
			case c == '_':
			case upper:
				p.out = append(p.out, c-('a'-'A'))
			default:
				p.out = append(p.out, c)
			}
			upper = c == '_'
		}
	}
	p.out = append(p.out, '"')
	return nil
}

// isReversible tells whether a path in snake_case has a form in camelCase:
// no capitals, and a small letter behind every underscore.
func isReversible(path []byte) bool {
	for i, c := range path {
		if 'A' <= c && c <= 'Z' || c == '_' && (i+1 == len(path) || path[i+1] < 'a' || path[i+1] > 'z') {
			return false
		}
	}
	return true
}

// any prints a google.protobuf.Any with what is in it.
func (p *printer) any(base int) *Error {
	var url, inner occurrence
	if slot := p.slots[base]; slot.head != 0 {
		url = p.occs[slot.tail]
	}
	if slot := p.slots[base+1]; slot.head != 0 {
		inner = p.occs[slot.tail]
	}
	if err := p.open('{'); err != nil {
		return err
	}
	if url.start == url.end {
		if inner.start != inner.end {
			return p.fail(int(inner.start), "an Any without a type")
		}
		p.end('}')
		return nil
	}
	plan, ok := p.home.typeOf(p.wire[url.start:url.end])
	if !ok {
		return p.fail(int(url.start), "an Any of an unknown type")
	}
	p.out = append(p.out, `"@type":`...)
	if err := p.string(p.wire[url.start:url.end], int(url.start)); err != nil {
		return err
	}
	partial := p.partial
	p.partial = true
	err := p.inAny(plan, p.occur(int(inner.start), int(inner.end), protowire.BytesType))
	p.partial = partial
	if err != nil {
		return err
	}
	p.end('}')
	return nil
}

// inAny prints the message of an Any behind its type: its fields, or the form
// that it has of its own.
func (p *printer) inAny(plan *Plan, piece int32) *Error {
	if plan.known != ordinary && plan.known != empty {
		p.out = append(p.out, `,"value":`...)
		return p.message(plan, piece)
	}
	base, err := p.frame(plan, piece)
	if err != nil {
		return err
	}
	return p.members(plan, base)
}
