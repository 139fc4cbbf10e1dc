package server

import "testing"

func TestRequestID(t *testing.T) {
	seen := make(map[string]bool)
	for range 10_000 {
		id := requestID()
		if len(id) != 16 || seen[id] {
			t.Fatalf("%q: %d digits, seen before: %t", id, len(id), seen[id])
		}
		seen[id] = true
	}
	if n := testing.AllocsPerRun(100, func() { _ = requestID() }); n > 1 { // the string
		t.Errorf("%v allocations", n)
	}
}
