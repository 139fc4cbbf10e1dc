//go:build !race

package wire

import "testing"

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
