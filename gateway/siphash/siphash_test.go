package siphash

import "testing"

// The vectors are those of the paper's reference implementation: key 00..0f,
// input 00, 01, 02 ... of the given length.
func TestReferenceVectors(t *testing.T) {
	key := Key{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	input := "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e"
	for length, want := range map[int]uint64{
		0:  0x726fdb47dd0e0e31,
		1:  0x74f839c593dc67fd,
		8:  0x93f5f5799a932462,
		15: 0xa129ca6149be45e5,
	} {
		if got := key.Sum(input[:length]); got != want {
			t.Errorf("Sum of %d bytes = %016x, want %016x", length, got, want)
		}
	}
}

var sink uint64

func TestKeysDiffer(t *testing.T) {
	if KeyOf("orders").Sum("alice") == KeyOf("payments").Sum("alice") {
		t.Error("two labels hash alike")
	}
	if got := testing.AllocsPerRun(100, func() { sink = KeyOf("a").Sum("alice@example.com") }); got > 0 {
		t.Errorf("Sum allocates %v times", got)
	}
}
