package server

import (
	"encoding/hex"
	"math/rand/v2"
	"sync/atomic"
)

var (
	idSeed  = rand.Uint64()
	idCount atomic.Uint64
)

// requestID gives 16 hexadecimal digits that no other request of this process
// has: a counter from a random start, mixed by a bijection (the finalizer of
// splitmix64) so that neighbours do not look alike.
func requestID() string {
	v := idSeed + idCount.Add(1)
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	v ^= v >> 31
	var raw [8]byte
	var text [16]byte
	for i := range raw {
		raw[i] = byte(v >> (8 * i))
	}
	hex.Encode(text[:], raw[:])
	return string(text[:])
}
