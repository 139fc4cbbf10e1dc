package wire

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// scalar prints what stands behind tag and length.
func (p *printer) scalar(f *field, raw []byte, at int) *Error {
	switch f.wtype {
	case protowire.VarintType:
		v := uint64(raw[0])
		if v >= 0x80 {
			v, _ = protowire.ConsumeVarint(raw)
		}
		p.varint(f, v)
	case protowire.Fixed32Type:
		p.fixed32(f, binary.LittleEndian.Uint32(raw))
	case protowire.Fixed64Type:
		p.fixed64(f, binary.LittleEndian.Uint64(raw))
	default:
		if f.kind == protoreflect.BytesKind {
			p.out = append(base64.StdEncoding.AppendEncode(append(p.out, '"'), raw), '"')
			return nil
		}
		return p.string(raw, at)
	}
	return nil
}

// string prints a string.
func (p *printer) string(raw []byte, at int) *Error {
	p.out = append(p.out, '"')
	n := plainLen(raw)
	if n < len(raw) {
		if !utf8.Valid(raw) {
			return p.fail(at, "invalid UTF-8")
		}
		p.out = append(appendEscaped(p.out, raw), '"')
		return nil
	}
	p.out = append(append(p.out, raw...), '"')
	return nil
}

// plainLen is how many bytes at the start of b are ASCII that needs no escape.
// How it finds them is said at scanner.quoted.
func plainLen(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		if hit := (x | (x - ones*0x20) | (quote - ones) | (slash - ones)) & highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			return i
		}
	}
	return i
}

const hex = "0123456789abcdef"

// appendEscaped appends valid UTF-8 with the escapes that JSON needs.
func appendEscaped(dst, raw []byte) []byte {
	start := 0
	for i, c := range raw {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, raw[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, raw[start:]...)
}

// appendQuoted appends a name as a JSON string.
func appendQuoted(dst []byte, name string) []byte {
	return append(appendEscaped(append(dst, '"'), []byte(name)), '"')
}

func (p *printer) varint(f *field, v uint64) {
	switch f.kind {
	case protoreflect.BoolKind:
		p.out = strconv.AppendBool(p.out, v != 0)
	case protoreflect.EnumKind:
		p.enum(f.enum, int32(v))
	case protoreflect.Int32Kind:
		p.out = strconv.AppendInt(p.out, int64(int32(v)), 10)
	case protoreflect.Sint32Kind:
		p.out = strconv.AppendInt(p.out, int64(int32(protowire.DecodeZigZag(v&math.MaxUint32))), 10)
	case protoreflect.Uint32Kind:
		p.out = strconv.AppendUint(p.out, uint64(uint32(v)), 10)
	case protoreflect.Int64Kind:
		p.int64(int64(v))
	case protoreflect.Sint64Kind:
		p.int64(protowire.DecodeZigZag(v))
	default:
		p.uint64(v)
	}
}

func (p *printer) fixed32(f *field, v uint32) {
	switch f.kind {
	case protoreflect.Sfixed32Kind:
		p.out = strconv.AppendInt(p.out, int64(int32(v)), 10)
	case protoreflect.Fixed32Kind:
		p.out = strconv.AppendUint(p.out, uint64(v), 10)
	default:
		p.out = appendFloat(p.out, float64(math.Float32frombits(v)), 32)
	}
}

func (p *printer) fixed64(f *field, v uint64) {
	switch f.kind {
	case protoreflect.Sfixed64Kind:
		p.int64(int64(v))
	case protoreflect.Fixed64Kind:
		p.uint64(v)
	default:
		p.out = appendFloat(p.out, math.Float64frombits(v), 64)
	}
}

// int64 prints 64 bits in quotes, because readers may have only doubles.
func (p *printer) int64(n int64) {
	p.out = append(strconv.AppendInt(append(p.out, '"'), n, 10), '"')
}

func (p *printer) uint64(n uint64) {
	p.out = append(strconv.AppendUint(append(p.out, '"'), n, 10), '"')
}

func (p *printer) enum(e *enum, n int32) {
	if e.isNull {
		p.out = append(p.out, "null"...)
		return
	}
	if label := e.label(n); label != nil && !p.home.o.EnumNumbers {
		p.out = append(p.out, label...)
		return
	}
	p.out = strconv.AppendInt(p.out, int64(n), 10)
}

// zero prints the value of a scalar without presence that is not set.
func (p *printer) zero(f *field) *Error {
	switch {
	case f.enum != nil:
		p.enum(f.enum, int32(f.fd.Default().Enum()))
	case f.wtype == protowire.BytesType:
		p.out = append(p.out, '"', '"')
	case f.wtype == protowire.VarintType:
		p.varint(f, 0)
	case f.wtype == protowire.Fixed32Type:
		p.fixed32(f, 0)
	default:
		p.fixed64(f, 0)
	}
	return nil
}

// appendFloat prints the shortest number that reads back as the same, with an
// exponent only where it is very small or very large (as ECMAScript does).
func appendFloat(dst []byte, n float64, size int) []byte {
	switch abs := math.Abs(n); {
	case math.IsNaN(n):
		return append(dst, `"NaN"`...)
	case math.IsInf(n, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(n, -1):
		return append(dst, `"-Infinity"`...)
	case abs != 0 && (tooSmall(abs, size) || tooLarge(abs, size)):
		dst = strconv.AppendFloat(dst, n, 'e', -1, size)
		if i := len(dst) - 4; string(dst[i:i+3]) == "e-0" {
			dst = append(dst[:i+2], dst[i+3])
		}
		return dst
	default:
		return strconv.AppendFloat(dst, n, 'f', -1, size)
	}
}

func tooSmall(abs float64, size int) bool {
	return size == 64 && abs < 1e-6 || size == 32 && float32(abs) < 1e-6
}

func tooLarge(abs float64, size int) bool {
	return size == 64 && abs >= 1e21 || size == 32 && float32(abs) >= 1e21
}
