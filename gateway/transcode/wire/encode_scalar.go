package wire

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// scalar reads a number, a string or a literal and writes what stands behind
// the tag: nothing for an enum whose name is unknown and discarded.
func (e *encoder) scalar(f *field) *Error {
	c := e.peek()
	at := e.pos
	var ok bool
	switch {
	case c == '"' && f.kind == protoreflect.StringKind:
		return e.str()
	case c == '"' && f.kind != protoreflect.BoolKind:
		text, err := e.string()
		if err != nil {
			return err
		}
		ok = e.fromString(f, text)
	case c == '-' || c >= '0' && c <= '9':
		raw, err := e.number()
		if err != nil {
			return err
		}
		ok = e.fromNumber(f, raw)
	case c == 't' && f.kind == protoreflect.BoolKind:
		e.out = append(e.out, 1)
		return e.literal("true")
	case c == 'f' && f.kind == protoreflect.BoolKind:
		e.out = append(e.out, 0)
		return e.literal("false")
	case c == 'n' && f.enum != nil && f.enum.isNull:
		e.out = append(e.out, 0)
		return e.literal("null")
	case c == 0:
		return e.unexpected("a value")
	}
	if !ok {
		return &Error{Offset: at, Msg: "not a value of type " + f.kind.String()}
	}
	return nil
}

// str reads a string and writes it with its length.
func (e *encoder) str() *Error {
	raw, escaped, err := e.quoted()
	if err != nil {
		return err
	}
	if !escaped {
		e.bytes(raw)
		return nil
	}
	start := e.reserve()
	if e.out, err = e.unescape(e.out, raw); err != nil {
		return err
	}
	e.fix(start)
	return nil
}

func (e *encoder) bytes(b []byte) {
	if len(b) < 0x80 {
		e.out = append(append(e.out, byte(len(b))), b...)
		return
	}
	e.out = protowire.AppendBytes(e.out, b)
}

func (e *encoder) boolean(text []byte) bool {
	switch string(text) {
	case "true":
		e.out = append(e.out, 1)
	case "false":
		e.out = append(e.out, 0)
	default:
		return false
	}
	return true
}

// fromString writes the value that a string stands for, in every type that is
// not a string itself.
func (e *encoder) fromString(f *field, text []byte) bool {
	switch f.kind {
	case protoreflect.BytesKind:
		return e.base64(text)
	case protoreflect.EnumKind:
		n, ok := f.enum.numbers[string(text)]
		if ok {
			e.int(f.kind, int64(n))
		}
		return ok || e.home.o.DiscardUnknown
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		switch string(text) {
		case "NaN":
			return e.float(f.kind, math.NaN())
		case "Infinity":
			return e.float(f.kind, math.Inf(1))
		case "-Infinity":
			return e.float(f.kind, math.Inf(-1))
		}
	}
	return isNumber(text) && e.fromNumber(f, text)
}

// fromNumber writes a number in the type of the field, if it fits and loses
// nothing but the precision of a float.
func (e *encoder) fromNumber(f *field, raw []byte) bool {
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.EnumKind:
		n, ok := signed(raw, 32)
		e.int(f.kind, n)
		return ok
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, ok := signed(raw, 64)
		e.int(f.kind, n)
		return ok
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, ok := unsigned(raw, 32)
		e.uint(f.kind, n)
		return ok
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, ok := unsigned(raw, 64)
		e.uint(f.kind, n)
		return ok
	case protoreflect.FloatKind:
		n, err := strconv.ParseFloat(string(raw), 32)
		return err == nil && e.float(f.kind, n)
	case protoreflect.DoubleKind:
		n, err := strconv.ParseFloat(string(raw), 64)
		return err == nil && e.float(f.kind, n)
	default:
		return false
	}
}

func (e *encoder) int(kind protoreflect.Kind, n int64) {
	switch kind {
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		e.out = protowire.AppendVarint(e.out, protowire.EncodeZigZag(n))
	case protoreflect.Sfixed32Kind:
		e.out = protowire.AppendFixed32(e.out, uint32(n))
	case protoreflect.Sfixed64Kind:
		e.out = protowire.AppendFixed64(e.out, uint64(n))
	default:
		e.out = protowire.AppendVarint(e.out, uint64(n))
	}
}

func (e *encoder) uint(kind protoreflect.Kind, n uint64) {
	switch kind {
	case protoreflect.Fixed32Kind:
		e.out = protowire.AppendFixed32(e.out, uint32(n))
	case protoreflect.Fixed64Kind:
		e.out = protowire.AppendFixed64(e.out, n)
	default:
		e.out = protowire.AppendVarint(e.out, n)
	}
}

func (e *encoder) float(kind protoreflect.Kind, n float64) bool {
	if kind == protoreflect.FloatKind {
		e.out = protowire.AppendFixed32(e.out, math.Float32bits(float32(n)))
	} else {
		e.out = protowire.AppendFixed64(e.out, math.Float64bits(n))
	}
	return true
}

// base64 writes bytes from either alphabet of RFC 4648, padded or not.
func (e *encoder) base64(text []byte) bool {
	padded := len(text)%4 == 0
	enc := base64.StdEncoding
	switch urlSafe := bytes.IndexByte(text, '-') >= 0 || bytes.IndexByte(text, '_') >= 0; {
	case urlSafe && padded:
		enc = base64.URLEncoding
	case urlSafe:
		enc = base64.RawURLEncoding
	case !padded:
		enc = base64.RawStdEncoding
	}
	start := e.reserve()
	var err error
	e.out, err = enc.AppendDecode(e.out, text)
	if err != nil {
		return false
	}
	e.fix(start)
	return true
}

// plain writes the value that stands in a path, a query or a header.
func (e *encoder) plain(f *field, text []byte) bool {
	switch f.kind {
	case protoreflect.StringKind:
		e.bytes(text)
		return utf8.Valid(text)
	case protoreflect.BoolKind:
		return e.boolean(text)
	default:
		if f.enum != nil && f.enum.isNull && string(text) == "null" {
			e.out = append(e.out, 0)
			return true
		}
		if f.enum != nil && isNumber(text) {
			return e.fromNumber(f, text)
		}
		return e.fromString(f, text)
	}
}
