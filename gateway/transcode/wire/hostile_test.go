package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway/transcode/wire/internal/testpb"
)

func everything(tb testing.TB, o Options) *Plan {
	tb.Helper()
	o.Types = testTypes(tb)
	p, err := Compile((*testpb.Everything)(nil).ProtoReflect().Descriptor(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// deep is a document with so many levels, and a part of it that is too deep.
func deep(levels int) []byte {
	return []byte(strings.Repeat(`{"self":`, levels-1) + "{}" + strings.Repeat("}", levels-1))
}

func TestHostileJSON(t *testing.T) {
	long := strings.Repeat("9", 1<<20)
	for name, docs := range map[string][]string{
		"B01 depth 65, 100, 1000, 9000":  {string(deep(65)), string(deep(100)), string(deep(1000)), string(deep(9000)), `{"value":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + "}"},
		"B02 100000 brackets":            {strings.Repeat("[", 100000), `{"value":` + strings.Repeat("[", 100000), strings.Repeat(`{"self":`, 100000), `{"list":` + strings.Repeat("[", 50000)},
		"B03 duplicate field":            {`{"one_int32":1,"one_int32":1}`, `{"oneInt32":1,"one_int32":1}`, `{"one_int32":null,"oneInt32":1}`, `{"one_int32":1,"one\u005fint32":1}`},
		"B03 duplicate key":              {`{"by_string":{"a":"","a":""}}`, `{"by_int32":{"1":"","01":""}}`, `{"struct":{"a":1,"\u0061":2}}`, manyKeys(10000, 9999), manyKeys(9, 0)},
		"B03 duplicate member of an Any": {`{"any":{"@type":"x/google.protobuf.Duration","value":"1s","value":"1s"}}`, `{"any":{"@type":"x/google.protobuf.Empty","@type":"x/google.protobuf.Empty"}}`, `{"any":{"@type":"x/pithead.wire.test.Nested","id":1,"@type":"x/pithead.wire.test.Nested"}}`},
		"B03 two of one oneof":           {`{"choice_int32":1,"choice_string":"a"}`},
		"B04 other case":                 {`{"ONE_INT32":1}`, `{"OneInt32":1}`},
		"B05 NaN token":                  {`{"one_double":NaN}`, `{"one_double":-Infinity}`, `{"one_double":nan}`, `{"one_double":"nan"}`},
		"B06 double out of range":        {`{"one_double":1e400}`, `{"one_float":3.5e38}`, `{"value":1e400}`, `{"w_double":-1e400}`},
		"B08 integer out of range": {
			`{"one_int64":9223372036854775808}`, `{"one_int64":"-9223372036854775809"}`, `{"one_int64":1e100000000}`, `{"one_int64":` + long + `}`, `{"one_int64":"` + long + `"}`,
			`{"one_uint64":18446744073709551616}`, `{"one_uint64":-1}`, `{"one_int32":2147483648}`, `{"one_uint32":4294967296}`, `{"one_enum":2147483648}`, `{"one_double":` + long + `}`,
		},
		"B09 no integer":          {`{"one_int32":1.5}`, `{"one_int32":1e-2}`, `{"one_int32":"1.5"}`, `{"one_int32":" 1"}`, `{"one_int32":""}`, `{"one_int32":true}`},
		"B10 invalid UTF-8":       {"{\"one_string\":\"\xff\"}", "{\"one_string\":\"\xed\xa0\x80\"}", "{\"\xff\":1}", "{\"by_string\":{\"\xc3\":\"\"}}", "{\"one_string\":\"long enough \xc3\"}"},
		"B10 lone surrogate":      {`{"one_string":"\ud83d"}`, `{"one_string":"\ude00\ud83d"}`, `{"one_string":"\ud83d\ud83d"}`, `{"one_string":"\ud83dx"}`},
		"B10 byte order mark":     {"\xef\xbb\xbf{}", "\xfe\xff{}"},
		"B10 control character":   {"{\"one_string\":\"a\nb\"}", "{\"one_string\":\"\x00\"}", "{\"one_string\":\"12345678\x1f\"}"},
		"B11 something follows":   {`{}{}`, `{} x`, `{},`, "{}\x00", `{}]`, `{}null`},
		"B12 unknown field":       {`{"nope":1}`, `{"self":{"nope":1}}`, `{"":1}`, `{"[pithead.wire.test.remark]":"x"}`, `{"@type":"x"}`, `{"empty":{"a":1}}`},
		"B13 unknown enum name":   {`{"one_enum":"BLUE"}`, `{"one_enum":"red"}`, `{"many_enum":["RED",""]}`, `{"one_enum":1.5}`},
		"B14 null in a list":      {`{"many_int32":[null]}`, `{"many_message":[null]}`, `{"many_string":["a",null]}`, `{"map_int32":{"a":null}}`, `{"many_w_int32":[null]}`},
		"not RFC 8259":            {`{'a':1}`, `{"one_int32":01}`, `{"one_int32":+1}`, `{"one_int32":1.}`, `{"one_int32":.5}`, `{"one_int32":1e}`, `{"one_int32":0x1}`, `{"one_int32":1,}`, `{,}`, `{"many_int32":[1,]}`, `{"many_int32":[,1]}`, `{"one_int32" 1}`, `{"one_int32":1 "one_string":""}`, `{one_int32:1}`, `{} // c`, `{"one_string":"\x"}`, "{\v}", `{"one_bool":True}`, `nul`, ``, ` `, `[]`, `""`, `1`, `null`},
		"base64 of two alphabets": {`{"one_bytes":"+_"}`, `{"one_bytes":"A"}`, `{"one_bytes":"A=="}`, `{"one_bytes":"===="}`},
		"Timestamp":               {`{"timestamp":"2023-02-29T00:00:00Z"}`, `{"timestamp":"2024-01-01T00:00:00"}`, `{"timestamp":"2024-01-01T00:00:60Z"}`, `{"timestamp":"2024-01-01T24:00:00Z"}`, `{"timestamp":"2024-01-01T0:00:00Z"}`, `{"timestamp":"2024-01-01T00:00:00,5Z"}`, `{"timestamp":"9999-12-31T23:59:59-00:01"}`, `{"timestamp":"2024-01-01T00:00:00.0000000001Z"}`, `{"timestamp":1}`},
		"Any":                     {`{"any":{"a":1}}`, `{"any":{"@type":""}}`, `{"any":{"@type":1}}`, `{"any":{"@type":"x/no.such.Type"}}`, `{"any":{"@type":"x/google.protobuf.Duration"}}`, `{"any":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range []Options{{}, {EmitDefaults: true}} {
				p := everything(t, o)
				for _, doc := range docs {
					got, err := p.AppendWire([]byte("x"), []byte(doc))
					e, ok := errors.AsType[*Error](err)
					if !ok || string(got) != "x" || e.Offset < 0 || e.Offset > len(doc) {
						t.Errorf("%.80s: %.80x, %v", doc, got, err)
					}
				}
			}
		})
	}
}

// manyKeys is a map with n keys and one of them twice.
func manyKeys(n, again int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"key %d":"",`, i)
	}
	return fmt.Sprintf(`{"by_string":{%s"key %d":""}}`, b.String(), again)
}

func TestB15Truncated(t *testing.T) {
	p := everything(t, Options{DiscardUnknown: true})
	const doc = `{"oneString":"ä\u00e4","self":{"manyInt32":[1,-2.0e1],"any":{"a":[true],"@type":"x/google.protobuf.Value","value":{"a":[null,false,1.5,"x"]}}},"mapMessage":{"k":{"id":1}},"nope":{"a":[1,"b"]}}`
	if _, err := p.AppendWire(nil, []byte(doc)); err != nil {
		t.Fatal(err)
	}
	for i := range doc {
		if _, err := p.AppendWire(nil, []byte(doc[:i])); err == nil {
			t.Errorf("%s was accepted", doc[:i])
		}
	}
}

// What is too deep is refused at its first bracket that is, before anything
// that follows is read.
func TestB01RefusedAtTheBracket(t *testing.T) {
	p := everything(t, Options{})
	if _, err := p.AppendWire(nil, deep(DefaultMaxDepth)); err != nil {
		t.Errorf("depth %d: %v", DefaultMaxDepth, err)
	}
	in := deep(9000)
	_, err := p.AppendWire(nil, in)
	if e, ok := errors.AsType[*Error](err); !ok || e.Msg != "nested too deep" || e.Offset != DefaultMaxDepth*len(`{"self":`) {
		t.Errorf("got %v", err)
	}
}

func TestHostileAccepted(t *testing.T) {
	types := testTypes(t)
	for name, docs := range map[string][]string{
		"B05 NaN as a string":           {`{"one_double":"NaN"}`, `{"one_float":"-Infinity"}`},
		"B07 beyond 53 bits":            {`{"one_int64":9007199254740993}`, `{"one_uint64":18446744073709551615}`},
		"B09 integers as fractions":     {`{"one_int32":1.0}`, `{"one_int32":1e2}`, `{"one_int32":100e-2}`, `{"one_int32":0.5e1}`, `{"one_int32":"1e2"}`},
		"B13 unknown enum number":       {`{"one_enum":999}`, `{"many_enum":[999,-5]}`},
		"null is absent":                {`{"one_int32":null,"self":null,"many_int32":null,"map_int32":null,"choice_int32":null,"choice_string":"a"}`},
		"null is a value":               {`{"value":null,"many_value":[null],"choice_null":null,"many_null":[null,"NULL_VALUE"],"map_value":{"a":null}}`},
		"white space everywhere":        {" \t\r\n{ \"one_int32\" : 1 , \"many_int32\" : [ 1 , 2 ] } \n"},
		"escaped name":                  {`{"one\u005fint32":1}`, `{"another\"name":"x"}`, `{"renamed":"x"}`},
		"Any with its type at the end":  {`{"any":{"value":{"a":1},"@type":"x/google.protobuf.Struct"}}`, `{"any":{"id":7,"@type":"x/pithead.wire.test.Nested"}}`},
		"Any in Any":                    {`{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/google.protobuf.Any","value":{"@type":"x/google.protobuf.Empty"}}}}`},
		"Any without required fields":   {`{"any":{"@type":"x/pithead.wire.test.Legacy"}}`},
		"string of more than 127 bytes": {`{"one_string":"` + strings.Repeat("ä", 100) + `\n"}`, `{"map_string":{"k":"` + strings.Repeat("a", 300) + `"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t, (*testpb.Everything)(nil), Options{Types: types}, types)
			for _, doc := range docs {
				for _, mt := range s.types {
					s.checkJSON(t, []byte(doc), mt)
				}
				wire, err := s.plan.AppendWire(nil, []byte(doc))
				if err != nil {
					t.Fatalf("%s: %v", doc, err)
				}
				s.checkWire(t, wire, s.types[1])
			}
		})
	}
}

func BenchmarkTooDeep(b *testing.B) {
	p := everything(b, Options{})
	for _, n := range []int{65, 9000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			in := deep(n)
			for b.Loop() {
				if _, err := p.AppendWire(nil, in); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func BenchmarkMegabyteOfDigits(b *testing.B) {
	p, in := everything(b, Options{}), []byte(`{"one_int64":`+strings.Repeat("9", 1<<20)+`}`)
	for b.Loop() {
		if _, err := p.AppendWire(nil, in); err == nil {
			b.Fatal("accepted")
		}
	}
}
