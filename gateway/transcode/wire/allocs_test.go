//go:build !race

package wire

import (
	"strconv"
	"testing"
)

// Encoders and printers come from a pool, which drops some on purpose under the
// race detector; so this test is for the ordinary build.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for _, size := range sizes {
		t.Run(size.name, func(t *testing.T) {
			plan, buf := orderPlan(t), make([]byte, 0, 64<<10)
			wire, json := orderBytes(t, size.items)
			if n := testing.AllocsPerRun(100, func() {
				if _, err := plan.AppendWire(buf, json); err != nil {
					t.Fatal(err)
				}
			}); n > 0 {
				t.Errorf("%d bytes of JSON cost %v allocations", len(json), n)
			}
			if n := testing.AllocsPerRun(100, func() {
				if _, err := plan.AppendJSON(buf, wire); err != nil {
					t.Fatal(err)
				}
			}); n > 0 {
				t.Errorf("%d bytes of wire cost %v allocations", len(wire), n)
			}
		})
	}
}

func TestFieldsDoNotAllocate(t *testing.T) {
	p, buf := everything(t, Options{}), make([]byte, 0, 1<<10)
	for path, v := range map[string]string{
		"self.self.one_int64": "-12345678901", "one_string": "a/b", "one_enum": "GREEN", "timestamp": "2024-01-01T00:00:00Z",
		"self.w_double": "1.5", "many_int32": "7", "one_bytes": "AAEC", "mask": "a,b.cD",
	} {
		f := fieldOf(t, p, path)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := f.AppendText(buf, v); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s=%s costs %v allocations", path, v, n)
		}
	}
}

// Many keys are compared through a table that is kept.
func TestMapsDoNotAllocate(t *testing.T) {
	p, buf := everything(t, Options{}), make([]byte, 0, 64<<10)
	json := []byte(`{"by_int64":{`)
	for i := range 500 {
		json = append(strconv.AppendInt(append(json, '"'), int64(i), 10), `":"v",`...)
	}
	json = append(json[:len(json)-1], '}', '}')
	wire, err := p.AppendWire(nil, json)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := p.AppendWire(buf, json); err != nil {
			t.Fatal(err)
		}
		if _, err := p.AppendJSON(buf, wire); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("a map of 500 costs %v allocations", n)
	}
}
