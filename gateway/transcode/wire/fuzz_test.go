package wire

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

var anyResolver = protoregistry.GlobalTypes

// FuzzJSON gives any JSON to plan and oracle.
func FuzzJSON(f *testing.F) {
	all := newSubjects(f)
	for i, s := range append(wild, `{"one_int32":1e2,"oneString":"\u00e4"}`, `{"any":{"@type":"x/google.protobuf.Timestamp","value":"2024-01-01T00:00:00Z"}}`) {
		f.Add([]byte(s), uint8(i))
	}
	f.Fuzz(func(t *testing.T, in []byte, which uint8) {
		s := all[int(which/2)%len(all)]
		s.checkJSON(t, in, s.types[which%2])
	})
}

// FuzzWire gives any bytes to plan and oracle.
func FuzzWire(f *testing.F) {
	all := newSubjects(f)
	for i := range 32 {
		s := all[i/2%len(all)]
		f.Add(newGenerator(uint64(i)).wire(nil, s.types[0].Descriptor(), 0), uint8(i))
	}
	f.Fuzz(func(t *testing.T, in []byte, which uint8) {
		s := all[int(which/2)%len(all)]
		s.checkWire(t, in, s.types[which%2])
	})
}

// runs is how many messages TestGenerated makes; more if WIRE_RUNS says so.
const runs = 6000

// TestGenerated gives messages that are made to be difficult to plan and
// oracle, both ways.
func TestGenerated(t *testing.T) {
	n, first := uint64(runs), uint64(0)
	if s, ok := os.LookupEnv("WIRE_RUNS"); ok {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
		first = rand.Uint64()
		t.Logf("%d messages from seed %d", n, first)
	}
	all := newSubjects(t)
	accepted := [2]int{}
	for seed := first; seed-first < n; seed++ {
		g := newGenerator(seed)
		s := all[g.IntN(len(all))]
		mt := s.types[g.IntN(20)/19]
		way := int(seed % 2)
		in := g.message(mt.Descriptor(), way)
		var err error
		if way == 0 {
			s.checkJSON(t, in, mt)
			_, err = s.plan.AppendWire(nil, in)
		} else {
			s.checkWire(t, in, mt)
			_, err = s.plan.AppendJSON(nil, in)
		}
		if err == nil {
			accepted[way]++
		}
	}
	t.Logf("accepted: %d texts, %d messages", accepted[0], accepted[1])
	if accepted[0] < int(n/8) || accepted[1] < int(n/8) {
		t.Errorf("only %v of %d are messages: the generator is too wild to prove anything", accepted, n)
	}
}

func (g *generator) message(md protoreflect.MessageDescriptor, way int) []byte {
	var in []byte
	if way == 0 {
		var b strings.Builder
		g.json(&b, md, 0)
		in = []byte(b.String())
	} else {
		in = g.wire(nil, md, 0)
	}
	if g.badly(15) && len(in) > 0 {
		at := g.IntN(len(in))
		switch g.IntN(3) {
		case 0:
			in[at] = byte(g.Uint32())
		case 1:
			in = in[:at]
		default:
			in = append(in[:at:at], in[at/2:]...)
		}
	}
	return in
}
