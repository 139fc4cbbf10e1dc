package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/pithead/pithead/gateway/transcode/wire/internal/testpb"
)

// samples are values of every type in JSON. What stands in quotes is also what
// a path, a query or a header would have, without the quotes.
var samples = map[string][]string{
	"bool":     {"true", "false"},
	"int32":    {"0", "1", "-1", "2147483647", "-2147483648", `"12"`, "1e2", "1.0"},
	"sint32":   {"0", "1", "-1", "2147483647", "-2147483648", `"12"`},
	"sfixed32": {"0", "1", "-1", "2147483647", "-2147483648", `"12"`},
	"uint32":   {"0", "1", "4294967295", `"12"`, "-0"},
	"fixed32":  {"0", "1", "4294967295", `"12"`},
	"int64":    {"0", "9007199254740993", `"9223372036854775807"`, `"-9223372036854775808"`},
	"sint64":   {"0", "9007199254740993", `"9223372036854775807"`, `"-9223372036854775808"`},
	"sfixed64": {"0", "9007199254740993", `"9223372036854775807"`, `"-9223372036854775808"`},
	"uint64":   {"0", "9007199254740993", `"18446744073709551615"`},
	"fixed64":  {"0", "9007199254740993", `"18446744073709551615"`},
	"float":    {"0", "-0", "1.5", "3.4028235e38", `"NaN"`, `"-Infinity"`, `"0.25"`},
	"double":   {"0", "-0", "1.5", "1e-7", "1e21", "5e-324", `"NaN"`, `"Infinity"`, `"0.25"`},
	"string":   {`""`, `"a"`, `"Zürich, 日本"`, `"12"`},
	"bytes":    {`""`, `"AA=="`, `"AA"`, `"-_-_"`, `"+/+/"`},
	"enum":     {`"COLOUR_UNSPECIFIED"`, `"RED"`, `"ROT"`, `"FAR"`, `"NEGATIVE"`, "2", "999", "-1"},

	"timestamp": {`"2024-02-29T23:59:59.5Z"`, `"1970-01-01T01:00:00+01:00"`, `"0001-01-01T00:00:00Z"`},
	"duration":  {`"1s"`, `"-0.000000001s"`, `"315576000000s"`},
	"mask":      {`""`, `"a,bC.dE"`},
	"struct":    {`{}`, `{"a":{"b":[1,null,"x",true,{}]}}`},
	"value":     {"1.5", "true", "{}", "[[]]", "null"},
	"list":      {`[]`, `[1,[2],null]`},
	"w_bool":    {"true", "false"},
	"w_int32":   {"0", "-7"},
	"w_int64":   {`"0"`, `"-9223372036854775808"`},
	"w_uint32":  {"0", "7"},
	"w_uint64":  {`"18446744073709551615"`},
	"w_float":   {"1.5", `"NaN"`},
	"w_double":  {"1.5", "0"},
	"w_string":  {`""`, `"ä"`},
	"w_bytes":   {`""`, `"AAEC"`},
	"message":   {`{}`, `{"name":"n","id":1,"child":{"id":2}}`},
	"any":       {`{}`, `{"@type":"x/pithead.wire.test.Nested","id":3}`, `{"value":"1s","@type":"x/google.protobuf.Duration"}`},
	"empty":     {`{}`},
}

// noText are messages that cannot be given as text.
var noText = map[string]bool{"message": true, "any": true, "empty": true}

func TestMatrix(t *testing.T) {
	types := testTypes(t)
	s := newSubject(t, (*testpb.Everything)(nil), Options{Types: types}, types)
	for kind, values := range samples {
		for _, place := range []string{"one_", "opt_", "many_", "loose_", "map_", "choice_", ""} {
			name := place + kind
			if s.plan.byName[name] == nil {
				continue
			}
			t.Run(name, func(t *testing.T) {
				for _, v := range values {
					s.checkPlace(t, name, v)
				}
			})
		}
	}
}

// checkPlace gives one value to one field in every way there is.
func (s *subject) checkPlace(t *testing.T, name, v string) {
	t.Helper()
	f, err := s.plan.Field(name)
	if err != nil {
		t.Fatal(err)
	}
	body := v
	switch f.field.shape {
	case list:
		body = "[" + v + "," + v + "]"
	case mapping:
		body = `{"k":` + v + `}`
	}
	whole := []byte(`{"` + name + `":` + body + `}`)
	for _, mt := range s.types {
		s.checkJSON(t, whole, mt)
	}
	want := s.message(t, whole)
	got, err := s.plan.AppendWire(nil, whole)
	if err != nil {
		t.Fatalf("%s: %v", whole, err)
	}
	for _, mt := range s.types {
		s.checkWire(t, got, mt)
	}
	alone, err := f.AppendWire([]byte("x"), []byte(body))
	s.same(t, name+" alone", want, alone, err)
	printed, found, err := f.AppendJSON(nil, got)
	if err != nil || found == (f.field.fd.HasPresence() && isUnset(want, f)) {
		t.Errorf("%s: %s, %v, %v", whole, printed, found, err)
	} else if found {
		s.same(t, name+" printed", want, mustWire(t, f, printed), nil)
	}
	text := strings.Trim(v, `"`)
	if noText[strings.TrimPrefix(strings.TrimPrefix(name, "many_"), "map_")] || noText[strings.TrimPrefix(strings.TrimPrefix(name, "one_"), "choice_")] {
		return
	}
	var wire []byte
	switch f.field.shape {
	case list:
		wire, err = f.AppendText([]byte("x"), text, text)
	case mapping:
		wire, err = f.AppendEntry([]byte("x"), "k", text)
	default:
		wire, err = f.AppendText([]byte("x"), text)
	}
	s.same(t, name+" from text "+text, want, wire, err)
}

func isUnset(m proto.Message, f *Field) bool {
	return !m.ProtoReflect().Has(m.ProtoReflect().Descriptor().Fields().ByNumber(f.field.fd.Number()))
}

func mustWire(t *testing.T, f *Field, json []byte) []byte {
	t.Helper()
	b, err := f.AppendWire([]byte("x"), json)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *subject) message(t *testing.T, in []byte) proto.Message {
	t.Helper()
	m := s.types[0].New().Interface()
	if err := s.read.Unmarshal(in, m); err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	return m
}

// same compares a message with wire bytes that were appended to an "x".
func (s *subject) same(t *testing.T, what string, want proto.Message, wire []byte, err error) {
	t.Helper()
	if err != nil || !bytes.HasPrefix(wire, []byte("x")) {
		t.Errorf("%s: %q, %v", what, wire, err)
		return
	}
	got := want.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(wire[1:], got); err != nil || !s.equal(t, got, want) {
		t.Errorf("%s: %v, %v; want %v", what, got, err, want)
	}
}

// Names of map keys have types as well.
func TestMapKeys(t *testing.T) {
	types := testTypes(t)
	s := newSubject(t, (*testpb.Everything)(nil), Options{Types: types}, types)
	for kind, keys := range map[string][]string{
		"bool": {"true", "false"}, "int32": {"-1", "0", "2147483647", "-2147483648"}, "sint32": {"-1", "0", "5"}, "sfixed32": {"-1", "0", "5"},
		"uint32": {"0", "4294967295"}, "fixed32": {"0", "4294967295"}, "int64": {"-9223372036854775808", "0", "9223372036854775807"},
		"sint64": {"-1", "0", "1"}, "sfixed64": {"-1", "0", "1"}, "uint64": {"0", "18446744073709551615"}, "fixed64": {"0", "18446744073709551615"},
		"string": {"", "a", "ä", "日本", "b"},
	} {
		t.Run(kind, func(t *testing.T) {
			members := map[string]string{}
			for _, k := range keys {
				members[k] = "v" + k
			}
			b, err := json.Marshal(map[string]any{"by_" + kind: members})
			if err != nil {
				t.Fatal(err)
			}
			s.checkJSON(t, b, s.types[1])
			got, err := s.plan.AppendWire(nil, b)
			if err != nil {
				t.Fatal(err)
			}
			s.checkWire(t, got, s.types[1])
			f, err := s.plan.Field("by_" + kind)
			if err != nil {
				t.Fatal(err)
			}
			entries := []byte("x")
			for _, k := range keys {
				if entries, err = f.AppendEntry(entries, k, "v"+k); err != nil {
					t.Fatal(err)
				}
			}
			s.same(t, "entries", s.message(t, b), entries, nil)
			if kind != "string" {
				if _, err := f.AppendEntry(nil, "x", "v"); err == nil {
					t.Error("x was taken for a key")
				}
			}
		})
	}
}

// The answer must be what a client of protojson's would have got.
func TestOrderOfBenchmarks(t *testing.T) {
	wire, got := orderBytes(t, 230)
	want, err := protojson.Marshal(newOrder(230))
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, compact.Bytes()) {
		t.Errorf("got %s", got)
	}
	back, err := orderPlan(t).AppendWire(nil, got)
	if err != nil {
		t.Fatal(err)
	}
	var a, b testpb.Order
	if err := proto.Unmarshal(back, &a); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(wire, &b); err != nil || !proto.Equal(&a, &b) {
		t.Errorf("the order does not come back: %v, %v", &a, err)
	}
}
