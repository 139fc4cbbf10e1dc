package wire

import (
	"bytes"
	"maps"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// value reads any JSON value as a google.protobuf.Value.
func (e *encoder) value(p *Plan) *Error {
	switch e.peek() {
	case '{':
		return e.tagged(p.fields[valueStruct])
	case '[':
		return e.tagged(p.fields[valueList])
	case '"':
		return e.tagged(p.fields[valueString])
	case 't', 'f':
		return e.tagged(p.fields[valueBool])
	case 'n':
		return e.tagged(p.fields[valueNull])
	default:
		return e.tagged(p.fields[valueNumber])
	}
}

// textual reads the messages that are strings in JSON.
func (e *encoder) textual(p *Plan) *Error {
	if e.peek() != '"' {
		return e.unexpected("a string")
	}
	at := e.pos
	text, err := e.string()
	if err != nil {
		return err
	}
	if !e.fromText(p, text, false) {
		return &Error{Offset: at, Msg: "not a value of type " + string(p.md.FullName())}
	}
	return nil
}

// fromText writes a Timestamp, a Duration or a FieldMask.
func (e *encoder) fromText(p *Plan, text []byte, snake bool) bool {
	switch p.known {
	case timestamp:
		secs, nanos, ok := parseTimestamp(text)
		e.seconds(secs, nanos)
		return ok
	case duration:
		secs, nanos, ok := parseDuration(text)
		e.seconds(secs, nanos)
		return ok
	default:
		return e.mask(p.fields[0], text, snake)
	}
}

// seconds writes the two fields that Timestamp and Duration share.
func (e *encoder) seconds(secs int64, nanos int32) {
	if secs != 0 {
		e.out = protowire.AppendTag(e.out, 1, protowire.VarintType)
		e.out = protowire.AppendVarint(e.out, uint64(secs))
	}
	if nanos != 0 {
		e.out = protowire.AppendTag(e.out, 2, protowire.VarintType)
		e.out = protowire.AppendVarint(e.out, uint64(nanos))
	}
}

// mask writes the paths of a FieldMask. JSON has them in camelCase; a query may
// also name fields as the .proto file does.
func (e *encoder) mask(f *field, text []byte, snake bool) bool {
	text = bytes.TrimSpace(text)
	for len(text) > 0 {
		path, rest, more := bytes.Cut(text, []byte{','})
		if more && len(rest) == 0 || !snake && bytes.IndexByte(path, '_') >= 0 {
			return false
		}
		e.out = append(e.out, f.tag...)
		start := e.reserve()
		for _, c := range path {
			if 'A' <= c && c <= 'Z' {
				e.out = append(e.out, '_')
				c += 'a' - 'A'
			}
			e.out = append(e.out, c)
		}
		if !isPath(e.out[start:]) {
			return false
		}
		e.fix(start)
		text = rest
	}
	return true
}

// isPath tells whether b is names of fields with dots between.
func isPath(b []byte) bool {
	begin := true
	for _, c := range b {
		switch {
		case c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			begin = false
		case '0' <= c && c <= '9' && !begin:
		case c == '.' && !begin:
			begin = true
		default:
			return false
		}
	}
	return !begin
}

// any reads a google.protobuf.Any. Its type may stand behind the members that
// need it, so it is looked for first.
func (e *encoder) any(p *Plan) *Error {
	if e.peek() != '{' {
		return e.unexpected("an object")
	}
	at := e.pos
	url, members, err := e.findType()
	if err != nil {
		return err
	}
	if url == nil {
		if members > 0 && !e.home.o.DiscardUnknown {
			return &Error{Offset: at, Msg: `"@type" is missing`}
		}
		return e.skip()
	}
	inner, ok := e.home.typeOf(url)
	if !ok {
		return (&Error{Offset: at, Msg: "unknown type"}).under("@type")
	}
	e.out = append(e.out, p.fields[0].tag...)
	e.bytes(url)
	tag := len(e.out)
	e.out = append(e.out, p.fields[1].tag...)
	start := e.reserve()
	partial := e.partial
	e.partial = true // as the Go module has it: what is inside may be incomplete
	if inner.known == ordinary {
		err = e.object(inner, true)
	} else {
		err = e.anyValue(inner)
	}
	if err != nil {
		return err
	}
	e.partial = partial
	if len(e.out) == start {
		e.out = e.out[:tag]
		return nil
	}
	e.fix(start)
	return nil
}

// findType reads an object up to its "@type" and goes back to its beginning.
func (e *encoder) findType() (url []byte, members int, err *Error) {
	pos, depth := e.pos, e.depth
	defer func() { e.pos, e.depth = pos, depth }()
	if err := e.open('{'); err != nil {
		return nil, 0, err
	}
	for ; ; members++ {
		more, err := e.more('}', members == 0)
		if err != nil || !more {
			return nil, members, err
		}
		name, err := e.name()
		if err != nil {
			return nil, 0, err
		}
		if string(name) != "@type" {
			if err := e.skip(); err != nil {
				return nil, 0, err
			}
			continue
		}
		if e.peek() != '"' {
			return nil, 0, e.unexpected("a string").under("@type")
		}
		if url, err = e.string(); err == nil && len(url) == 0 {
			err = e.fail("unknown type").under("@type")
		}
		return url, members + 1, err
	}
}

// anyValue reads the object around a message that has a form of its own.
func (e *encoder) anyValue(p *Plan) *Error {
	if err := e.open('{'); err != nil {
		return err
	}
	found, typed := false, false
	for first := true; ; first = false {
		more, err := e.more('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		at := e.pos
		name, err := e.name()
		if err != nil {
			return err
		}
		if string(name) != "value" {
			if err := e.stranger(name, at, true, &typed); err != nil {
				return err
			}
			continue
		}
		if found {
			return (&Error{Offset: at, Msg: "duplicate member"}).under("value")
		}
		found = true
		if err := e.message(p); err != nil {
			return err.under("value")
		}
	}
	if !found && p.known != empty {
		return e.fail(`"value" is missing`)
	}
	return nil
}

// typeOf finds the plan for the URL of an Any. Types are asked for once; only
// names that exist are remembered, so clients cannot fill the memory.
func (h *home) typeOf(url []byte) (*Plan, bool) {
	name := url[bytes.LastIndexByte(url, '/')+1:]
	if p := (*h.types.Load())[string(name)]; p != nil {
		return p, true
	}
	if h.o.Types == nil {
		return nil, false
	}
	mt, err := h.o.Types.FindMessageByURL(string(url))
	if err != nil || mt.Descriptor().FullName() != protoreflect.FullName(name) {
		return nil, false
	}
	p, err := h.compile(mt.Descriptor())
	if err != nil {
		return nil, false
	}
	h.adding.Lock()
	defer h.adding.Unlock()
	types := maps.Clone(*h.types.Load())
	types[string(name)] = p
	h.types.Store(&types)
	return p, true
}
