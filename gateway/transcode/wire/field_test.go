package wire

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pithead/pithead/gateway/transcode/wire/internal/testpb"
)

func planOf(tb testing.TB, m proto.Message, o Options) *Plan {
	tb.Helper()
	p, err := Compile(m.ProtoReflect().Descriptor(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func fieldOf(tb testing.TB, p *Plan, path string) *Field {
	tb.Helper()
	f, err := p.Field(path)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func TestFieldPaths(t *testing.T) {
	p := planOf(t, (*testpb.Everything)(nil), Options{})
	for path, want := range map[string]protoreflect.FullName{
		"oneInt32": "pithead.wire.test.Everything.one_int32", "one_int32": "pithead.wire.test.Everything.one_int32",
		"self.self.oneMessage.child.name": "pithead.wire.test.Nested.name", "self.map_message": "pithead.wire.test.Everything.map_message",
	} {
		if got := fieldOf(t, p, path).Descriptor().FullName(); got != want {
			t.Errorf("%s is %s", path, got)
		}
	}
	for _, path := range []string{"", ".", "nope", "one_int32.x", "self.", ".self", "many_message.id", "map_message.id", "timestamp.seconds", "w_int32.value", "ONE_INT32"} {
		if _, err := p.Field(path); !errors.Is(err, ErrNoField) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What a path says goes before what the body says, also if it is the zero.
func TestFieldsMergeWithTheBody(t *testing.T) {
	p := planOf(t, (*testpb.Everything)(nil), Options{})
	wire, err := p.AppendWire(nil, []byte(`{"self":{"oneInt32":5,"oneString":"body","manyInt32":[1]},"choiceInt32":1,"oneMessage":{"child":{"id":3}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		path   string
		values []string
	}{
		{"self.oneInt32", []string{"0"}},
		{"self.manyInt32", []string{"2", "3"}},
		{"self.loose_int32", []string{"4", "5"}},
		{"choice_string", []string{"path"}},
		{"one_message.child.name", []string{"x/y"}},
		{"self.self.timestamp", []string{"2024-01-01T00:00:00Z"}},
		{"self.mask", []string{"one_int32,self.oneString"}},
		{"many_string", nil},
	} {
		if wire, err = fieldOf(t, p, part.path).AppendText(wire, part.values...); err != nil {
			t.Fatalf("%s: %v", part.path, err)
		}
	}
	got, err := p.AppendJSON(nil, wire)
	const want = `{"oneMessage":{"id":0,"child":{"name":"x/y","id":3}},"choiceString":"path","self":{"oneString":"body","manyInt32":[1,2,3],` +
		`"looseInt32":[4,5],"mask":"oneInt32,self.oneString","self":{"timestamp":"2024-01-01T00:00:00Z"}}}`
	if err != nil || string(got) != strings.Replace(want, `"id":0,`, "", 1) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestFieldsInGroups(t *testing.T) {
	p := planOf(t, (*testpb.Legacy)(nil), Options{})
	wire, err := fieldOf(t, p, "part.legacy.name").AppendText([]byte{0x08, 1}, "n")
	if err != nil {
		t.Fatal(err)
	}
	if wire, err = fieldOf(t, p, "part.label").AppendText(wire, "l"); err != nil {
		t.Fatal(err)
	}
	if wire, err = fieldOf(t, p, "part.legacy.id").AppendText(wire, "2"); err != nil {
		t.Fatal(err)
	}
	if wire, err = fieldOf(t, p, "parts").AppendWire(wire, []byte(`[{"n":"1"},{}]`)); err != nil {
		t.Fatal(err)
	}
	got, err := p.AppendJSON(nil, wire)
	if err != nil || string(got) != `{"id":1,"part":{"label":"l","legacy":{"id":2,"name":"n"}},"parts":[{"n":"1"},{}]}` {
		t.Errorf("got %s, %v", got, err)
	}
	part, found, err := fieldOf(t, p, "part.legacy").AppendJSON(nil, wire)
	if err != nil || !found || string(part) != `{"id":2,"name":"n"}` {
		t.Errorf("got %s, %v, %v", part, found, err)
	}
}

func TestFieldOfAnAnswer(t *testing.T) {
	p := planOf(t, (*testpb.Everything)(nil), Options{})
	wire, err := p.AppendWire(nil, []byte(`{"oneMessage":{"id":1},"manyString":["a"],"optInt32":0,"self":{"timestamp":"1970-01-01T00:00:01Z"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"oneMessage": `{"id":1}`, "oneMessage.id": "1", "manyString": `["a"]`, "optInt32": "0", "self.timestamp": `"1970-01-01T00:00:01Z"`,
		"oneInt64": `"0"`, "oneString": `""`, "oneEnum": `"COLOUR_UNSPECIFIED"`, "manyInt32": "[]", "mapInt32": "{}", "oneMessage.children": "[]",
		"optString": "", "self.self": "", "oneMessage.child": "", "choiceInt32": "",
	} {
		got, found, err := fieldOf(t, p, path).AppendJSON([]byte("x"), wire)
		if err != nil || string(got) != "x"+want || found != (want != "") {
			t.Errorf("%s: %s, %v, %v", path, got, found, err)
		}
	}
	if got, found, err := fieldOf(t, p, "oneMessage").AppendJSON([]byte("x"), []byte{0xff}); err == nil || found || string(got) != "x" {
		t.Errorf("%s, %v, %v", got, found, err)
	}
}

func TestFieldErrors(t *testing.T) {
	p := planOf(t, (*testpb.Everything)(nil), Options{DiscardUnknown: true})
	for path, values := range map[string][]string{
		"one_int32": {"", " 1", "1.5", "x", "2147483648", "0x1"}, "one_bool": {"1", "TRUE", ""}, "one_string": {"\xff"}, "one_enum": {"BLUE", "", "1.5"},
		"one_bytes": {"A", "+_"}, "timestamp": {"now", ""}, "duration": {"1"}, "mask": {"a,", "a b"}, "struct": {"[]", "{", `{}x`, `"a"`}, "w_int32": {"x"},
		"one_message": {"{}", ""}, "any": {"{}"}, "map_int32": {"1"}, "many_int32": {"x"}, "self.one_uint32": {"-1"},
	} {
		for _, v := range values {
			got, err := fieldOf(t, p, path).AppendText([]byte("x"), v)
			e, ok := errors.AsType[*Error](err)
			if !ok || string(got) != "x" || v != "" && strings.Contains(e.Msg, v) && len(v) > 2 {
				t.Errorf("%s=%q: %q, %v", path, v, got, err)
			}
		}
	}
	if _, err := fieldOf(t, p, "one_int32").AppendText(nil, "1", "2"); err == nil {
		t.Error("two values for a single field")
	}
	if _, err := fieldOf(t, p, "one_int32").AppendText(nil); err == nil {
		t.Error("no value for a single field")
	}
	if _, err := fieldOf(t, p, "one_int32").AppendEntry(nil, "1", "2"); err == nil {
		t.Error("an entry of a field that is no map")
	}
	for _, in := range []string{"", "x", "1 2", "[1]", "{}"} {
		if got, err := fieldOf(t, p, "self.one_int32").AppendWire([]byte("x"), []byte(in)); err == nil || string(got) != "x" {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	if got, err := fieldOf(t, p, "self.one_int32").AppendWire([]byte("x"), []byte(" null ")); err != nil || string(got) != "x" {
		t.Errorf("null: %q, %v", got, err)
	}
}

// Errors say where: a JSON pointer and the byte.
func TestErrorPlaces(t *testing.T) {
	p := planOf(t, (*testpb.Everything)(nil), Options{})
	for in, want := range map[string]Error{
		`{"self":{"manyMessage":[{},{"id":"x"}]}}`:       {"/self/manyMessage/1/id", 33, "not a value of type int32"},
		`{"mapInt32":{"a/b":1,"~":true}}`:                {"/mapInt32/~0", 25, "not a value of type int32"},
		`{"self":{"a~/b":1}}`:                            {"/self/a~0~1b", 9, "unknown field"},
		`{"one_int32":1,"oneInt32":1}`:                   {"/oneInt32", 15, "duplicate member"},
		`{"timestamp":"x"}`:                              {"/timestamp", 13, "not a value of type google.protobuf.Timestamp"},
		`{"manyInt32":[1,2,3.5]}`:                        {"/manyInt32/2", 18, "not a value of type int32"},
		`{"` + strings.Repeat("n", 1000) + `":1}`:        {"", 1, "unknown field"},
		`{"choiceInt32":1,"choiceBool":true}`:            {"/choiceBool", 17, "another member of the same oneof is set"},
		`{"struct":{"a":{"b":[1,{"c":1e999}]}}}`:         {"/struct/a/b/1/c", 28, "not a value of type double"},
		`{"self":`:                                       {"/self", 8, "unexpected end of JSON"},
		`{"byInt32":{"x":""}}`:                           {"/byInt32/x", 16, "not a key of type int32"},
		`{"self":{"self":{"byString":{"k":"","k":""}}}}`: {"/self/self/byString", 29, "duplicate key"},
	} {
		_, err := p.AppendWire(nil, []byte(in))
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%.60s: %v", in, err)
			continue
		}
		if e.Path = strings.TrimSuffix(e.Path, "/value/fields"); *e != want {
			t.Errorf("%.60s: %#v", in, *e)
		}
	}
	if got := (&Error{Path: "/a", Offset: 3, Msg: "unknown field"}).Error(); got != "/a: unknown field (byte 3)" {
		t.Error(got)
	}
}

// Plans are shared by all requests.
func TestPlansAreShared(t *testing.T) {
	p := everything(t, Options{})
	done := make(chan string)
	for range 8 {
		go func() {
			var last []byte
			for i := range 200 {
				in := `{"any":{"@type":"x/` + anyTypes[i%2] + `","name":"n"` + strings.Repeat(`,"id":1`, i%2) + `},"oneString":"s"}`
				wire, err := p.AppendWire(nil, []byte(in))
				if err != nil {
					done <- err.Error()
					return
				}
				if last, err = p.AppendJSON(last[:0], wire); err != nil {
					done <- err.Error()
					return
				}
			}
			done <- string(last)
		}()
	}
	var all []string
	for range 8 {
		all = append(all, <-done)
	}
	if all = slices.Compact(all); len(all) != 1 || !strings.Contains(all[0], `"id":1`) {
		t.Errorf("got %q", all)
	}
}
