package wire

import (
	"bytes"
	"hash/maphash"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// span is where the key of a map entry lies: in the output, or among the keys
// of entries whose value was discarded, which count as well.
type span struct {
	start, end int
	dropped    bool
}

// mapping reads an object as the entries of a map.
func (e *encoder) mapping(f *field) *Error {
	if err := e.open('{'); err != nil {
		return err
	}
	base, at := len(e.keys), e.pos
	for first := true; ; first = false {
		more, err := e.more('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := e.entry(f); err != nil {
			return err
		}
	}
	if e.duplicates(e.keys[base:]) {
		return &Error{Offset: at, Msg: "duplicate key"}
	}
	e.keys = e.keys[:base]
	return nil
}

// entry reads one member of a map.
func (e *encoder) entry(f *field) *Error {
	key, val := f.plan.fields[0], f.plan.fields[1]
	begin := len(e.out)
	e.out = append(e.out, f.tag...)
	start := e.reserve()
	e.out = append(e.out, key.tag...)
	name, err := e.name()
	if err != nil {
		return err
	}
	if !e.key(key, name) {
		return e.fail("not a key of type " + key.kind.String()).under(string(name))
	}
	end := len(e.out)
	quoted := e.pos // for the path of an error
	e.out = append(e.out, val.tag...)
	payload := len(e.out)
	if err := e.payload(val); err != nil {
		return err.under(nameBefore(e.in, quoted))
	}
	if len(e.out) == payload && val.kind != protoreflect.GroupKind {
		at := len(e.dropped)
		e.dropped = append(e.dropped, e.out[start:end]...)
		e.keys = append(e.keys, span{at, len(e.dropped), true})
		e.out = e.out[:begin]
		return nil
	}
	moved := e.fix(start) - start
	e.keys = append(e.keys, span{start: start + moved, end: end + moved})
	return nil
}

// nameBefore finds the name that ends before the colon at the end of in[:pos].
// It is only for errors, so the name may keep its escapes.
func nameBefore(in []byte, pos int) string {
	closing := bytes.LastIndexByte(in[:pos], '"')
	opening := bytes.LastIndexByte(in[:closing], '"')
	return string(in[opening+1 : closing])
}

// key writes the key of a map entry behind its tag.
func (e *encoder) key(f *field, name []byte) bool {
	switch f.kind {
	case protoreflect.StringKind:
		e.bytes(name)
		return true
	case protoreflect.BoolKind:
		return e.boolean(name)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := strconv.ParseInt(string(name), 10, 32)
		e.int(f.kind, n)
		return err == nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(string(name), 10, 64)
		e.int(f.kind, n)
		return err == nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(string(name), 10, 32)
		e.uint(f.kind, n)
		return err == nil
	default:
		n, err := strconv.ParseUint(string(name), 10, 64)
		e.uint(f.kind, n)
		return err == nil
	}
}

// fewKeys is up to how many keys are compared with each other.
const fewKeys = 8

// duplicates tells whether two keys are the same. They are compared as they
// were written, so "1" and "01" are one number. Many keys go through a hash
// table with a secret seed: the client chooses them.
func (e *encoder) duplicates(keys []span) bool {
	if len(keys) <= fewKeys {
		for i := range keys {
			for j := range i {
				if bytes.Equal(e.written(keys[i]), e.written(keys[j])) {
					return true
				}
			}
		}
		return false
	}
	size := 1
	for size < 2*len(keys) {
		size *= 2
	}
	if cap(e.table) < size {
		e.table = make([]uint32, size)
	}
	table := e.table[:size]
	clear(table)
	for i, k := range keys {
		slot := int(maphash.Bytes(e.home.seed, e.written(k))) & (size - 1)
		for ; table[slot] != 0; slot = (slot + 1) & (size - 1) {
			if bytes.Equal(e.written(keys[table[slot]-1]), e.written(k)) {
				return true
			}
		}
		table[slot] = uint32(i + 1)
	}
	return false
}

func (e *encoder) written(s span) []byte {
	if s.dropped {
		return e.dropped[s.start:s.end]
	}
	return e.out[s.start:s.end]
}
