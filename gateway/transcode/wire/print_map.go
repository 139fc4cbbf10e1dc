package wire

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// mapEntry is an entry of a map before it is printed.
type mapEntry struct {
	number     uint64 // the key in the order in which keys are printed, unless it is a string
	start, end int32  // a key that is a string
	seq        int32
	value      chain
}

// mapping prints the entries of a map by key. Of several with one key the last
// counts.
func (p *printer) mapping(f *field, c chain) (set bool, err *Error) {
	if err := p.open('{'); err != nil {
		return false, err
	}
	base, occs := len(p.entries), len(p.occs)
	for o := c.head; o != 0; o = p.occs[o].next {
		if err := p.entry(f, p.occs[o]); err != nil {
			return false, err
		}
	}
	key, val := f.plan.fields[0], f.plan.fields[1]
	entries := p.entries[base:]
	p.sort(key, entries)
	first := len(p.out)
	for i, entry := range entries {
		if i+1 < len(entries) && p.compare(key, entry, entries[i+1]) == 0 {
			if err := p.drop(val, entry.value); err != nil {
				return false, err
			}
			continue
		}
		p.comma(first)
		if err := p.key(key, entry); err != nil {
			return false, err
		}
		name := len(p.out)
		p.out = append(p.out, ':')
		if _, err := p.value(val, entry.value); err != nil {
			return false, err.under(nameBefore(p.out, name))
		}
	}
	p.entries, p.occs = p.entries[:base], p.occs[:occs]
	p.end('}')
	return c.head != 0, nil
}

// entry reads key and value of one entry. A missing key is the zero.
func (p *printer) entry(f *field, o occurrence) *Error {
	slots := len(p.slots)
	piece := p.occur(int(o.start), int(o.end), o.wtype)
	base, err := p.frame(f.plan, piece)
	if err != nil {
		return err
	}
	e := mapEntry{seq: int32(len(p.entries)), value: p.slots[base+1]}
	key := f.plan.fields[0]
	if head := p.slots[base].head; head != 0 {
		k := p.occs[head]
		e.start, e.end = k.start, k.end
		e.number = p.number(key, p.wire[k.start:k.end])
	} else {
		e.number = order(key.kind, 0)
	}
	p.entries = append(p.entries, e)
	p.slots = p.slots[:slots]
	return nil
}

// number is a key as a number that sorts as the key does.
func (p *printer) number(f *field, raw []byte) uint64 {
	switch f.wtype {
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(raw)
		switch f.kind {
		case protoreflect.BoolKind:
			return protowire.EncodeBool(v != 0)
		case protoreflect.Sint32Kind:
			v = uint64(protowire.DecodeZigZag(uint64(uint32(v))))
		case protoreflect.Sint64Kind:
			v = uint64(protowire.DecodeZigZag(v))
		case protoreflect.Int32Kind:
			v = uint64(int64(int32(v)))
		case protoreflect.Uint32Kind:
			v = uint64(uint32(v))
		}
		return order(f.kind, v)
	case protowire.Fixed32Type:
		v := binary.LittleEndian.Uint32(raw)
		if f.kind == protoreflect.Sfixed32Kind {
			return order(f.kind, uint64(int64(int32(v))))
		}
		return uint64(v)
	case protowire.Fixed64Type:
		return order(f.kind, binary.LittleEndian.Uint64(raw))
	default:
		return 0
	}
}

// order moves signed numbers so that they sort as unsigned ones.
func order(kind protoreflect.Kind, v uint64) uint64 {
	if isSigned(kind) {
		return v ^ 1<<63
	}
	return v
}

func isSigned(kind protoreflect.Kind) bool {
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return true
	default:
		return false
	}
}

func (p *printer) compare(f *field, a, b mapEntry) int {
	if f.kind == protoreflect.StringKind {
		return bytes.Compare(p.wire[a.start:a.end], p.wire[b.start:b.end])
	}
	return cmp.Compare(a.number, b.number)
}

func (p *printer) sort(f *field, entries []mapEntry) {
	slices.SortFunc(entries, func(a, b mapEntry) int {
		if c := p.compare(f, a, b); c != 0 {
			return c
		}
		return cmp.Compare(a.seq, b.seq)
	})
}

// key prints the key of an entry as the name of a member.
func (p *printer) key(f *field, e mapEntry) *Error {
	switch {
	case f.kind == protoreflect.StringKind:
		return p.string(p.wire[e.start:e.end], int(e.start))
	case f.kind == protoreflect.BoolKind:
		p.out = append(strconv.AppendBool(append(p.out, '"'), e.number != 0), '"')
	case isSigned(f.kind):
		p.int64(int64(order(f.kind, e.number)))
	default:
		p.uint64(e.number)
	}
	return nil
}
