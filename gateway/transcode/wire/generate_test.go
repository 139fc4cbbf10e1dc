package wire

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// generator makes JSON and wire bytes that look like messages of a type, with
// everything in them that two readers could see differently.
type generator struct {
	*rand.Rand

	left int  // how many more values, so that nothing grows without end
	mild bool // nothing that is wrong on purpose
}

func newGenerator(seed uint64) *generator {
	r := rand.New(rand.NewPCG(seed, 0))
	return &generator{Rand: r, left: 60, mild: r.IntN(3) > 0}
}

func (g *generator) often(percent int) bool { return g.IntN(100) < percent }

// badly is like often, for what is wrong.
func (g *generator) badly(percent int) bool { return !g.mild && g.often(percent) }

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

func (g *generator) space() string {
	if g.badly(3) {
		return pick(g, " ", "\v", "\u00a0", ",")
	}
	return pick(g, "", "", "", " ", "\n", "\t\r")
}

var wild = []string{
	"null", "true", "false", "0", "-0", "1", "-1", "1.0", "1e2", "1.5", "1e", "1e+", "01", "+1", ".5", "1.", "0.5e1", "100e-2", "5e-1",
	"2147483647", "2147483648", "-2147483648", "-2147483649", "4294967295", "4294967296", "9007199254740993", "9223372036854775807",
	"9223372036854775808", "-9223372036854775808", "18446744073709551615", "18446744073709551616", "1e19", "1e20", "1e400", "-1e-400",
	"0e99999999999", "1e99999999999", "1e-99999999999", "123456789012345678901e-2", "0.00000000000000000001e20", "1.7976931348623157e308",
	"3.4028235e38", "3.5e38", "1e-46", "NaN", "Infinity", "[]", "{}", "[null]", "[[]]", `{"a":1}`, `""`, `"x"`,
}

var texts = []string{
	"", "a", "ä", "日本語", `\u00e4`, `\ud83d\ude00`, `\ud83d`, `\ude00\ud83d`, `\n\t\"\\\/\b\f\r`, `\x`, `\u00`, "\x00", "\x1f", "\x7f", "\u2028", "\xff", "\xc3", "\xed\xa0\x80",
	"0", "1", "-1", "1.0", "1e2", " 1", "1 ", "01", "+1", "NaN", "Infinity", "-Infinity", "nan", "true", "false", "null", `\u0031`, "18446744073709551615", "-9223372036854775808",
	"AA==", "AAA=", "AA", "AAA", "AAAA", "-_-_", "+/+/", "+_", "A", "====", `AA\nAA`, "RED", "ROT", "FAR", "BLUE", "ONE", "TWO", "SOME", "NULL_VALUE",
	"a,b", "aB.cD", "a_b", "a,", ",a", ".", "a..b", "fooBar,x", " a ", "A", "a.B",
	"2024-02-29T23:59:59Z", "2023-02-29T00:00:00Z", "0001-01-01T00:00:00Z", "0000-12-31T23:59:59Z", "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-01:00",
	"2024-01-01T00:00:00+05:30", "2024-01-01T00:00:00.1234567891Z", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00,5Z", "2024-01-01T1:00:00Z", "2024-01-01T24:00:00Z",
	"2024-01-01t00:00:00z", "2024-01-01T00:00:60Z", "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00", "2024-01-01T00:00:00.5+00:00", "2024-01-01T00:00:00-00:00",
	"1s", "-1.5s", "0.000000001s", "1.0000000001s", "315576000000s", "315576000001s", "-.5s", "+1s", "1.s", ".s", "01s", "-0s", "s", "1", "99999999999999999999s",
	"a long string that is more than one hundred and twenty-seven bytes, so that its length needs two bytes in front of it, with an \\n in it",
}

// json appends a message as JSON.
func (g *generator) json(b *strings.Builder, md protoreflect.MessageDescriptor, depth int) {
	g.left--
	if depth > 6 || g.left < 0 {
		b.WriteString(pick(g, "{}", "null", `""`))
		return
	}
	if g.known(b, md, depth) {
		return
	}
	g.object(b, g.IntN(6), func(i int) { g.member(b, md, depth) })
}

func (g *generator) object(b *strings.Builder, n int, member func(int)) {
	b.WriteString(g.space() + "{")
	for i := range n {
		if i > 0 {
			b.WriteString("," + g.space())
		}
		member(i)
	}
	if g.badly(1) {
		b.WriteString(",")
	}
	b.WriteString("}" + g.space())
}

func (g *generator) member(b *strings.Builder, md protoreflect.MessageDescriptor, depth int) {
	if md.Fields().Len() == 0 || g.badly(2) {
		b.WriteString(pick(g, `"unknown":`, `"@type":`, `"[pithead.wire.test.remark]":`, `"":`) + pick(g, wild...))
		return
	}
	fd := md.Fields().Get(g.IntN(md.Fields().Len()))
	name := pick(g, fd.JSONName(), fd.TextName())
	fmt.Fprintf(b, "%q%s:%s", name, g.space(), g.space())
	g.value(b, fd, depth)
}

func (g *generator) value(b *strings.Builder, fd protoreflect.FieldDescriptor, depth int) {
	switch {
	case g.badly(3):
		b.WriteString(pick(g, wild...))
	case fd.IsMap():
		g.object(b, g.IntN(4)+g.IntN(20)/19*10, func(i int) {
			b.WriteString(`"` + g.key(fd.MapKey(), i) + `":`)
			g.single(b, fd.MapValue(), depth)
		})
	case fd.IsList():
		b.WriteString("[")
		for i := range g.IntN(4) {
			if i > 0 {
				b.WriteString(",")
			}
			g.single(b, fd, depth)
		}
		b.WriteString("]")
	default:
		g.single(b, fd, depth)
	}
}

func (g *generator) key(fd protoreflect.FieldDescriptor, i int) string {
	switch {
	case g.badly(10):
		return pick(g, texts...)
	case fd.Kind() == protoreflect.BoolKind:
		return []string{"true", "false"}[i%2]
	case g.mild:
		return fmt.Sprint(i)
	default:
		return pick(g, fmt.Sprint(i), fmt.Sprint(i%3))
	}
}

func (g *generator) single(b *strings.Builder, fd protoreflect.FieldDescriptor, depth int) {
	switch {
	case g.badly(2):
		b.WriteString(pick(g, wild...))
	case fd.Message() != nil:
		g.json(b, fd.Message(), depth+1)
	case fd.Kind() == protoreflect.BoolKind:
		b.WriteString(pick(g, "true", "false"))
	case fd.Enum() != nil && !g.badly(30):
		v := fd.Enum().Values().Get(g.IntN(fd.Enum().Values().Len()))
		b.WriteString(pick(g, `"`+string(v.Name())+`"`, fmt.Sprint(v.Number())))
	case fd.Kind() == protoreflect.BytesKind && !g.badly(20):
		raw := make([]byte, g.IntN(200))
		for i := range raw {
			raw[i] = byte(g.Uint32())
		}
		b.WriteString(`"` + pick(g, base64.StdEncoding, base64.RawURLEncoding).EncodeToString(raw) + `"`)
	case fd.Kind() == protoreflect.StringKind && g.mild:
		b.WriteString(`"` + pick(g, mildTexts...) + `"`)
	case g.mild:
		s := pick(g, "0", "7", "1e2", "127", "12.0", fmt.Sprint(g.Int32()))
		b.WriteString(pick(g, s, `"`+s+`"`))
	case fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind || g.badly(5):
		b.WriteString(`"` + pick(g, texts...) + pick(g, "", "", pick(g, texts...)) + `"`)
	default:
		s := pick(g, pick(g, wild...), "0", "7", "128", "-3", "300", fmt.Sprint(g.Int32()), fmt.Sprint(g.Int64()), fmt.Sprint(g.NormFloat64()))
		b.WriteString(pick(g, s, s, `"`+strings.Trim(s, `"`)+`"`))
	}
}

// known appends one of the messages that have a form of their own.
func (g *generator) known(b *strings.Builder, md protoreflect.MessageDescriptor, depth int) bool {
	k, err := wellKnown(md)
	if err != nil || k == ordinary {
		return false
	}
	switch k {
	case anyMessage:
		g.any(b, depth)
	case structMessage, listValue, wrapper:
		g.value(b, md.Fields().Get(0), depth)
	case value:
		g.value(b, md.Fields().Get(g.IntN(6)), depth)
	case empty:
		b.WriteString("{}")
	default:
		of := texts
		if g.mild {
			of = mildTimes[k]
		}
		b.WriteString(`"` + pick(g, of...) + `"`)
	}
	return true
}

var mildTexts = []string{"", "a", "ä", "日本語", `\u00e4`, `\ud83d\ude00`, `\n\t\"\\\/`, "null", texts[len(texts)-1]}

var mildTimes = map[known][]string{
	timestamp: {"2024-02-29T23:59:59Z", "2024-01-01T00:00:00.5+05:30", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"},
	duration:  {"1s", "-1.5s", "0.000000001s", "315576000000s", "-.5s", "1.s"},
	fieldMask: {"", "a", "a,b", "aB.cD", " fooBar,x "},
}

var anyTypes = []string{
	"pithead.wire.test.Nested", "pithead.wire.test.Legacy", "google.protobuf.Timestamp", "google.protobuf.Any", "google.protobuf.Empty",
	"google.protobuf.Value", "google.protobuf.Int64Value", "google.protobuf.Struct", "no.such.Type", "",
}

func (g *generator) any(b *strings.Builder, depth int) {
	name := pick(g, anyTypes...)
	if g.mild {
		name = pick(g, anyTypes[:8]...)
	}
	typed := fmt.Sprintf(`"@type":"%s%s"`, pick(g, "type.googleapis.com/", "a/b/", ""), name)
	mt, err := anyResolver.FindMessageByURL(name)
	g.object(b, 1+g.IntN(3), func(i int) {
		switch {
		case i == 0 && !g.badly(30):
			b.WriteString(typed)
		case err != nil || g.badly(10):
			b.WriteString(pick(g, typed, `"value":`+pick(g, wild...), `"x":1`))
		case strings.HasPrefix(name, "google."):
			b.WriteString(`"value":`)
			g.json(b, mt.Descriptor(), depth+1)
		default:
			g.member(b, mt.Descriptor(), depth+1)
		}
	})
}

// wire appends a message in wire format: fields in any order, in pieces, with
// other types than they should have.
func (g *generator) wire(b []byte, md protoreflect.MessageDescriptor, depth int) []byte {
	g.left--
	if depth > 6 || g.left < 0 || md.Fields().Len() == 0 {
		return b
	}
	for range g.IntN(6) {
		fd := md.Fields().Get(g.IntN(md.Fields().Len()))
		for range 1 + g.IntN(3)/2*g.IntN(12) {
			b = g.field(b, fd, depth)
			if od := fd.ContainingOneof(); od != nil && g.often(50) {
				fd = od.Fields().Get(g.IntN(od.Fields().Len()))
			}
		}
	}
	if md.FullName() == "pithead.wire.test.Legacy" && g.often(80) {
		b = append(b, 0x08, 0x05) // the required field
	}
	if md.FullName() == "pithead.wire.test.Edition" && g.often(80) {
		b = append(b, 0x18, 0x05)
	}
	return b
}

func (g *generator) field(b []byte, fd protoreflect.FieldDescriptor, depth int) []byte {
	n, wtype := fd.Number(), wireTypes[fd.Kind()]
	if g.badly(2) {
		n, wtype = n+protowire.Number(g.IntN(3)), pick(g, protowire.VarintType, protowire.BytesType, protowire.Fixed32Type, protowire.StartGroupType, protowire.EndGroupType)
	}
	if fd.IsList() && packable(wtype) && g.often(50) {
		var packed []byte
		for range g.IntN(4) {
			packed = g.payload(packed, fd, wtype, n, depth)
		}
		return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), packed)
	}
	return g.payload(protowire.AppendTag(b, n, wtype), fd, wtype, n, depth)
}

func (g *generator) payload(b []byte, fd protoreflect.FieldDescriptor, wtype protowire.Type, n protowire.Number, depth int) []byte {
	switch wtype {
	case protowire.VarintType:
		b = protowire.AppendVarint(b, pick(g, 0, 1, 2, 5, g.Uint64()>>g.IntN(64), math.MaxUint64, math.MaxUint32, 1<<31, 1<<32, 100000))
		if g.badly(3) { // longer than it must be
			b[len(b)-1] |= 0x80
			b = append(b, pick(g, byte(0), 1, 0x80))
		}
		return b
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(b, pick(g, 0, 1, 1<<31, math.MaxUint32, g.Uint32(), math.Float32bits(float32(math.Inf(1))), math.Float32bits(1.5), math.Float32bits(1e-7)))
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(b, pick(g, 0, 1, 1<<63, math.MaxUint64, g.Uint64(), math.Float64bits(math.Inf(-1)), math.Float64bits(1.5), math.Float64bits(1e21), math.Float64bits(g.NormFloat64())))
	case protowire.StartGroupType:
		if fd.Message() != nil {
			b = g.wire(b, fd.Message(), depth+1)
		}
		return protowire.AppendTag(b, n, protowire.EndGroupType)
	case protowire.BytesType:
		return protowire.AppendBytes(b, g.content(fd, depth))
	default:
		return b
	}
}

// content is what stands behind a length.
func (g *generator) content(fd protoreflect.FieldDescriptor, depth int) []byte {
	switch md := fd.Message(); {
	case md == nil && fd.FullName() == "google.protobuf.Any.type_url":
		return []byte("x/" + pick(g, anyTypes...))
	case md == nil && g.mild:
		return []byte(pick(g, mildTexts...))
	case md == nil:
		return []byte(pick(g, texts...))
	case fd.IsMap() && g.often(80):
		b := g.field(nil, fd.MapKey(), depth)
		return g.field(b, fd.MapValue(), depth)
	case md.FullName() == "google.protobuf.Any" && g.often(80):
		name := pick(g, anyTypes...)
		b := protowire.AppendString([]byte{0x0a}, "x/"+name)
		if mt, err := anyResolver.FindMessageByURL(name); err == nil {
			b = protowire.AppendBytes(append(b, 0x12), g.wire(nil, mt.Descriptor(), depth+1))
		}
		return b
	default:
		return g.wire(nil, md, depth+1)
	}
}
