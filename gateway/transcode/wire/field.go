package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Field is a field of a message, or of a message inside it. It is made by
// Plan.Field, never changes, and may be used by many goroutines at once.
//
// What its methods append is a whole message of the plan's type that holds
// nothing else. Appended to other bytes of the same message it is merged with
// them, as protobuf says: lists grow, and of a scalar the last one counts.
type Field struct {
	home    *home
	plan    *Plan
	parents []*field
	field   *field
}

// ErrNoField is in the error of Plan.Field for a path that leads nowhere.
var ErrNoField = errors.New("no such field")

// Field finds a field by its path: names with dots between, each as JSON or the
// .proto file has it. All but the last must be messages that are not repeated
// and have no form of their own in JSON, as a Timestamp has.
func (p *Plan) Field(path string) (*Field, error) {
	names := strings.Split(path, ".")
	f := &Field{home: p.home, plan: p}
	at := p
	for i, name := range names {
		if at == nil {
			return nil, fmt.Errorf("%s: %s holds no single message: %w", path, strings.Join(names[:i], "."), ErrNoField)
		}
		next := at.byName[name]
		if next == nil {
			return nil, fmt.Errorf("%s: %s has no field %q: %w", path, at.md.FullName(), name, ErrNoField)
		}
		if f.field != nil {
			f.parents = append(f.parents, f.field)
		}
		f.field = next
		if at = next.plan; next.shape != single || at != nil && at.known != ordinary {
			at = nil
		}
	}
	own := *f.field
	own.implicit = false // what somebody says is written, also if it is the zero
	f.field = &own
	return f, nil
}

// Descriptor is the field's own.
func (f *Field) Descriptor() protoreflect.FieldDescriptor {
	return f.field.fd
}

// AppendWire reads the JSON value of the field, null for none, and appends the
// message that has it. Errors are of type *Error; dst comes back as it was then.
func (f *Field) AppendWire(dst, json []byte) ([]byte, error) {
	return f.append(dst, json, func(e *encoder) *Error {
		var err *Error
		switch {
		case e.peek() == 'n' && !f.field.null:
			err = e.literal("null")
		case f.field.shape != single:
			err = e.repeated(f.field)
		default:
			err = e.tagged(f.field)
		}
		if err != nil {
			return err
		}
		return e.end()
	})
}

// AppendText reads values as they stand in a path, a query or a header, and
// appends the message that has them: exactly one, or any number for a list.
// Numbers, enums, bytes, Timestamp, Duration and wrappers are written as in
// JSON but without quotes; a FieldMask may also have the names of the .proto
// file; Struct, Value and ListValue are JSON. Errors are of type *Error; dst
// comes back as it was then.
func (f *Field) AppendText(dst []byte, values ...string) ([]byte, error) {
	if f.field.shape == mapping || f.field.shape == single && len(values) != 1 {
		return dst, f.fail("exactly one value is needed")
	}
	if len(values) == 0 {
		return dst, nil
	}
	return f.append(dst, nil, func(e *encoder) *Error {
		if !f.field.packed {
			for i, v := range values {
				e.out = append(e.out, f.field.tag...)
				if err := e.argument(f.field, v); err != nil {
					return f.place(err, i)
				}
			}
			return nil
		}
		e.out = append(e.out, f.field.tag...)
		start := e.reserve()
		for i, v := range values {
			if err := e.argument(f.field, v); err != nil {
				return f.place(err, i)
			}
		}
		e.fix(start)
		return nil
	})
}

// AppendEntry appends the message that has one entry of a map, from text. The
// last of several entries with one key counts.
func (f *Field) AppendEntry(dst []byte, key, value string) ([]byte, error) {
	if f.field.shape != mapping {
		return dst, f.fail("not a map")
	}
	k, v := f.field.plan.fields[0], f.field.plan.fields[1]
	return f.append(dst, nil, func(e *encoder) *Error {
		e.out = append(e.out, f.field.tag...)
		start := e.reserve()
		e.out = append(e.out, k.tag...)
		e.text = append(e.text[:0], key...)
		if !utf8.Valid(e.text) || !e.key(k, e.text) {
			return e.fail("not a key of type " + k.kind.String())
		}
		e.out = append(e.out, v.tag...)
		if err := e.argument(v, value); err != nil {
			return err.under(key)
		}
		e.fix(start)
		return nil
	})
}

// AppendJSON finds the field in a message and appends its value as JSON. It
// answers false for a field with presence that is not set; lists, maps and
// scalars without presence always have a value. Errors are of type *Error; dst
// comes back as it was then.
func (f *Field) AppendJSON(dst, wire []byte) ([]byte, bool, error) {
	p, err := f.home.printer(dst, wire)
	if err != nil {
		return dst, false, err
	}
	found, err := f.print(p)
	if out := p.free(); err == nil {
		return out, found, nil
	}
	return dst, false, err
}

func (f *Field) print(p *printer) (bool, *Error) {
	plan, pieces := f.plan, p.whole()
	for i := range len(f.parents) + 1 {
		base, err := p.frame(plan, pieces)
		if err != nil {
			return false, err
		}
		at := f.field
		if i < len(f.parents) {
			at = f.parents[i]
			pieces, plan = p.slots[base+at.index].head, at.plan
			continue
		}
		slot := p.slots[base+at.index]
		if slot.head == 0 && at.fd.HasPresence() {
			return false, nil
		}
		if _, err := p.value(at, slot); err != nil {
			return false, err.under(at.name)
		}
	}
	return true, nil
}

// append lets read write the field, inside the messages that lead to it.
func (f *Field) append(dst, json []byte, read func(*encoder) *Error) ([]byte, error) {
	e := f.home.encoder(dst, json)
	starts := make([]int, 0, 8)
	for _, parent := range f.parents {
		e.out = append(e.out, parent.tag...)
		if parent.kind == protoreflect.MessageKind {
			starts = append(starts, e.reserve())
		}
	}
	before := len(e.out)
	err := read(e)
	if err != nil {
		e.free()
		return dst, err
	}
	if len(e.out) == before {
		e.out = e.out[:len(dst)] // nothing was said
		return e.free(), nil
	}
	for _, parent := range slices.Backward(f.parents) {
		if parent.kind == protoreflect.GroupKind {
			e.out = append(e.out, parent.end...)
			continue
		}
		e.fix(starts[len(starts)-1])
		starts = starts[:len(starts)-1]
	}
	return e.free(), nil
}

func (f *Field) fail(msg string) *Error {
	return (&Error{Msg: msg}).under(f.field.name)
}

func (f *Field) place(err *Error, i int) *Error {
	if f.field.shape == list {
		err = err.at(i)
	}
	return err.under(f.field.name)
}

// argument writes what stands behind a tag, from text.
func (e *encoder) argument(f *field, v string) *Error {
	e.text = append(e.text[:0], v...)
	if f.plan == nil {
		before := len(e.out)
		if !e.plain(f, e.text) || len(e.out) == before {
			return &Error{Msg: "not a value of type " + f.kind.String()}
		}
		return nil
	}
	if f.kind == protoreflect.GroupKind {
		return textless(f.plan)
	}
	start := e.reserve()
	if err := e.textMessage(f.plan, v); err != nil {
		return err
	}
	e.fix(start)
	return nil
}

// textMessage writes a message that has a form of its own, from the text v,
// which is in e.text as well.
func (e *encoder) textMessage(p *Plan, v string) *Error {
	var ok bool
	switch p.known {
	case wrapper:
		e.out = append(e.out, p.fields[0].tag...)
		ok = e.plain(p.fields[0], e.text)
	case timestamp, duration, fieldMask:
		ok = e.fromText(p, e.text, true)
	case structMessage, value, listValue:
		e.in, e.pos, e.depth = []byte(v), 0, 0
		if err := e.message(p); err != nil {
			return err
		}
		return e.end()
	default:
		return textless(p)
	}
	if !ok {
		return &Error{Msg: "not a value of type " + string(p.md.FullName())}
	}
	return nil
}

func textless(p *Plan) *Error {
	return &Error{Msg: "a message of type " + string(p.md.FullName()) + " cannot be given as text"}
}
