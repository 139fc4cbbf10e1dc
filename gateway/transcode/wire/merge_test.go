package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/pithead/pithead/gateway/transcode/wire/internal/testpb"
)

// parts makes wire bytes: a number, then what stands there. Integers are
// varints, strings and byte slices have a length.
func parts(of ...any) (b []byte) {
	for i := 0; i < len(of); i += 2 {
		n := protowire.Number(of[i].(int))
		switch v := of[i+1].(type) {
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
		case []byte:
			b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
		}
	}
	return b
}

func group(n protowire.Number, inner []byte) []byte {
	b := append(protowire.AppendTag(nil, n, protowire.StartGroupType), inner...)
	return protowire.AppendTag(b, n, protowire.EndGroupType)
}

// What one message may look like on the wire. Everything here is also told by
// the oracle; the text is there to be read.
func TestWireForms(t *testing.T) {
	types := testTypes(t)
	id := slices.Clip(parts(1, 1)) // Legacy.id, which is required
	for name, c := range map[string]struct {
		m    proto.Message
		wire []byte
		want string
	}{
		"nothing":                    {&testpb.Nested{}, nil, `{}`},
		"in order of declaration":    {&testpb.Nested{}, parts(1, 5, 2, "n"), `{"name":"n","id":5}`},
		"last one wins":              {&testpb.Nested{}, parts(1, 5, 2, "a", 1, 6, 2, "b"), `{"name":"b","id":6}`},
		"last one wins with a zero":  {&testpb.Nested{}, parts(1, 5, 1, 0), `{}`},
		"pieces are merged":          {&testpb.Nested{}, parts(3, parts(1, 5), 2, "n", 3, parts(2, "c", 3, parts(1, 7)), 3, parts(3, parts(2, "d"))), `{"name":"n","child":{"name":"c","id":5,"child":{"name":"d","id":7}}}`},
		"elements are not merged":    {&testpb.Nested{}, parts(4, parts(1, 5), 1, 1, 4, parts(2, "c")), `{"id":1,"children":[{"id":5},{"name":"c"}]}`},
		"packed and not":             {&testpb.Legacy{}, append(id, parts(7, 1, 7, []byte{2, 3}, 8, 4, 8, []byte{5}, 8, []byte{})...), `{"id":1,"loose":[1,2,3],"tight":[4,5]}`},
		"an empty packed list":       {&testpb.Legacy{}, append(id, parts(8, []byte{})...), `{"id":1}`},
		"another wire type":          {&testpb.Nested{}, parts(1, "x", 2, 5, 3, 1), `{}`},
		"unknown fields":             {&testpb.Nested{}, append(parts(99, "x", 1000, 5, 1, 3), group(98, group(97, parts(1, 1)))...), `{"id":3}`},
		"an extension":               {&testpb.Legacy{}, append(id, parts(100, "x")...), `{"id":1}`},
		"oneof: the last":            {&testpb.Legacy{}, append(id, parts(11, "a", 12, id)...), `{"id":1,"legacy":{"id":1}}`},
		"oneof: begun again":         {&testpb.Legacy{}, append(id, parts(12, append(id, parts(2, "n")...), 11, "a", 12, id)...), `{"id":1,"legacy":{"id":1}}`},
		"oneof: merged":              {&testpb.Legacy{}, append(id, parts(12, append(id, parts(2, "n")...), 12, parts(3, 1))...), `{"id":1,"legacy":{"id":1,"name":"n","closed":"ONE"}}`},
		"group":                      {&testpb.Legacy{}, append(id, group(5, parts(1, "l"))...), `{"id":1,"part":{"label":"l"}}`},
		"groups in pieces":           {&testpb.Legacy{}, append(append(id, group(5, parts(1, "l"))...), group(5, parts(2, id))...), `{"id":1,"part":{"label":"l","legacy":{"id":1}}}`},
		"closed enum":                {&testpb.Legacy{}, append(id, parts(3, 77, 4, 1, 4, 77)...), `{"id":1,"closed":77,"manyClosed":["ONE",77]}`},
		"map by key":                 {&testpb.Legacy{}, append(id, parts(9, parts(1, "b", 2, 5), 9, parts(1, "a", 2, 0))...), `{"id":1,"mapClosed":{"a":"NONE","b":"SOME"}}`},
		"map: the last of a key":     {&testpb.Legacy{}, append(id, parts(9, parts(1, "a", 2, 5), 9, parts(2, 0, 1, "b", 1, "a"))...), `{"id":1,"mapClosed":{"a":"NONE"}}`},
		"map: neither key nor value": {&testpb.Legacy{}, append(id, parts(9, []byte{})...), `{"id":1,"mapClosed":{"":"NONE"}}`},
		"map: a value in pieces":     {&testpb.Legacy{}, append(id, parts(10, parts(2, id, 1, 7, 2, parts(2, "n")))...), `{"id":1,"mapLegacy":{"7":{"id":1,"name":"n"}}}`},
		"delimited edition":          {&testpb.Edition{}, append(append(parts(3, 0), group(4, parts(1, "a"))...), group(5, nil)...), `{"required":0,"delimited":{"name":"a"},"delimitedList":[{}]}`},
		"presence by feature":        {&testpb.Edition{}, parts(1, 0, 2, 0, 3, 0), `{"explicit":0,"required":0}`},
		"driven out, not checked":    {&testpb.Edition{}, parts(3, 0, 7, "\xff", 7, "a", 9, "\xff", 10, "b"), `{"required":0,"unchecked":"a","choiceChecked":"b"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t, c.m, Options{Types: types}, types)
			got, err := s.plan.AppendJSON([]byte("x"), c.wire)
			if err != nil || string(got) != "x"+c.want {
				t.Errorf("got %s, %v\nwant %s", got, err, c.want)
			}
			for _, mt := range s.types {
				s.checkWire(t, c.wire, mt)
			}
		})
	}
}

func TestWireRefused(t *testing.T) {
	types := testTypes(t)
	for name, c := range map[string]struct {
		m    proto.Message
		wire []byte
	}{
		"field number 0":                 {&testpb.Nested{}, []byte{0x00, 0x00}},
		"field number too large":         {&testpb.Nested{}, []byte{0x80, 0x80, 0x80, 0x80, 0x10, 0x00}},
		"wire type 6":                    {&testpb.Nested{}, []byte{0x0e, 0x00}},
		"a varint of eleven bytes":       {&testpb.Nested{}, append([]byte{0x08}, bytes.Repeat([]byte{0x80}, 11)...)},
		"a length beyond the end":        {&testpb.Nested{}, []byte{0x12, 0x05, 'a'}},
		"a length of 2^64-1":             {&testpb.Nested{}, append([]byte{0x12}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)},
		"half a fixed number":            {&testpb.Order{}, []byte{0x49, 0, 0, 0}},
		"a group without end":            {&testpb.Legacy{}, []byte{0x08, 0x01, 0x2b, 0x0a, 0x00}},
		"an end without group":           {&testpb.Legacy{}, []byte{0x08, 0x01, 0x2c}},
		"another end":                    {&testpb.Legacy{}, []byte{0x08, 0x01, 0x2b, 0x34}},
		"a malformed packed list":        {&testpb.Legacy{}, []byte{0x08, 0x01, 0x42, 0x01, 0x80}},
		"invalid UTF-8":                  {&testpb.Nested{}, parts(2, "\xff")},
		"invalid UTF-8, driven out":      {&testpb.Nested{}, parts(2, "\xff", 2, "a")},
		"invalid UTF-8, not checked":     {&testpb.Legacy{}, parts(1, 1, 2, "\xff")},
		"driven out of a oneof":          {&testpb.Legacy{}, parts(1, 1, 12, []byte{0x80}, 11, "a")},
		"driven out of a map":            {&testpb.Legacy{}, parts(1, 1, 10, parts(1, 1, 2, []byte{0x80}), 10, parts(1, 1, 2, parts(1, 1)))},
		"driven out, with a bad list":    {&testpb.Legacy{}, parts(1, 1, 12, parts(8, []byte{0x80}), 11, "a")},
		"driven out, with bad UTF-8":     {&testpb.Edition{}, parts(3, 0, 11, parts(1, "\xff"), 10, "a")},
		"a required field is missing":    {&testpb.Legacy{}, nil},
		"a required field in a group":    {&testpb.Legacy{}, append(parts(1, 1), group(5, nil)...)},
		"a required field in a map":      {&testpb.Legacy{}, parts(1, 1, 10, nil, 10, parts(1, 1))},
		"an Any of an unknown type":      {emptyAny(), parts(1, "x/no.such.Type")},
		"an Any with a malformed value":  {emptyAny(), parts(1, "x/pithead.wire.test.Nested", 2, "\x80")},
		"an Any without a type":          {emptyAny(), parts(2, "a")},
		"a Value of no kind in an Any":   {emptyAny(), parts(1, "x/google.protobuf.Value")},
		"a Timestamp out of range":       {emptyAny(), parts(1, "x/google.protobuf.Timestamp", 2, parts(1, -62135596801))},
		"a Duration with two signs":      {emptyAny(), parts(1, "x/google.protobuf.Duration", 2, parts(1, 1, 2, -1))},
		"a Duration out of range":        {emptyAny(), parts(1, "x/google.protobuf.Duration", 2, parts(1, 315576000001))},
		"a FieldMask that has no return": {emptyAny(), parts(1, "x/google.protobuf.FieldMask", 2, parts(1, "a_B"))},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t, c.m, Options{Types: types}, types)
			got, err := s.plan.AppendJSON([]byte("x"), c.wire)
			if _, ok := errors.AsType[*Error](err); !ok || string(got) != "x" {
				t.Errorf("got %s, %v", got, err)
			}
			for _, mt := range s.types {
				s.checkWire(t, c.wire, mt)
			}
		})
	}
}

func emptyAny() proto.Message { return testMessages[len(testMessages)-1] }

// Every prefix of a message is a message or not, as the oracle has it.
func TestB15TruncatedWire(t *testing.T) {
	types := testTypes(t)
	s := newSubject(t, (*testpb.Order)(nil), Options{Types: types}, types)
	wire, _ := orderBytes(t, 3)
	for i := range wire {
		s.checkWire(t, wire[:i], s.types[0])
	}
}

// Depth is bounded in both directions, and nothing is read twice for each
// level: forms that would double the work at every level end at once.
func TestDeepWire(t *testing.T) {
	p := planOf(t, (*testpb.Legacy)(nil), Options{})
	for name, wrap := range map[string]func(inner []byte) []byte{
		"merged":     func(b []byte) []byte { return parts(1, 1, 12, parts(1, 2), 12, b) },
		"driven out": func(b []byte) []byte { return parts(12, b, 11, "a", 1, 1) },
		"map":        func(b []byte) []byte { return parts(1, 1, 10, parts(2, b), 10, parts(2, parts(1, 3))) },
		"group":      func(b []byte) []byte { return append(parts(1, 1), group(5, parts(1, "l", 2, b))...) },
	} {
		t.Run(name, func(t *testing.T) {
			in := parts(1, 1)
			for range 30 {
				in = wrap(in)
			}
			if _, err := p.AppendJSON(nil, in); err != nil {
				t.Errorf("30 levels: %v", err)
			}
			for range 500 {
				in = wrap(in)
			}
			if _, err := p.AppendJSON(nil, in); err == nil || !strings.Contains(err.Error(), "nested too deep") {
				if name != "map" && name != "driven out" {
					t.Errorf("530 levels: %v", err)
				}
			}
		})
	}
	in := bytes.Repeat([]byte{0x2b}, 1<<20) // groups without end
	if _, err := p.AppendJSON(nil, in); err == nil {
		t.Error("a million groups")
	}
}
