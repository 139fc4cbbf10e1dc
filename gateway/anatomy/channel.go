// Package anatomy is where the time of a request went. This file is the channel
// between a gateway and pithead-probe: two private socket options. The gateway
// needs no privilege and no knowledge of the probe. A kernel without the probe
// answers ENOPROTOOPT, which costs 240 ns.
package anatomy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The numbers of the options. No protocol of Linux has this level, so a kernel
// without the probe refuses them and changes nothing.
const (
	Level      = 0x4757
	OptTag     = 1 // setsockopt: a Tag
	OptTimings = 2 // getsockopt: a Timings
)

// Sizes of what the options carry, in bytes. Everything is little-endian.
const (
	TagSize     = 16
	TimingsSize = 128
)

// Version is that of the layout of Timings. A probe may append fields under the
// same version, because it says its size; it may not move one.
const Version = 1

// Errors of the channel.
var (
	// ErrNoProbe says that no probe listens on this socket's control group.
	ErrNoProbe = errors.New("no pithead-probe answers on this socket")
	// ErrForeign says that somebody else answers under the probe's number.
	ErrForeign = errors.New("answer is not in the layout of pithead-probe")
)

// Flags of a Tag.
const (
	// TagUpstream says that the gateway is the client of this connection. The probe
	// then watches it, even if its port was not named to the probe.
	TagUpstream uint32 = 1 << iota
	// TagConnection says that requests cannot be told apart on this connection, as in
	// HTTP/2 or after an upgrade: only the connection itself is then measured.
	TagConnection
)

// Tag says what a connection is used for from now on. It counts for the request
// that is in progress as well, from its first byte.
//
// Under TLS it must be set after the handshake: on ports that the probe was told
// are secure, it counts no request before the first tag.
type Tag struct {
	Label   uint32 // what /-/labels gives a name to: route, arm and endpoint; 0 is nothing in particular
	Flags   uint32
	Request uint64 // the request that is in progress, for outliers; 0 is none in particular
}

// Append adds the bytes of the option to b.
func (t Tag) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, t.Label)
	b = binary.LittleEndian.AppendUint32(b, t.Flags)
	return binary.LittleEndian.AppendUint64(b, t.Request)
}

// DecodeTag reads what Append wrote.
func DecodeTag(b []byte) (Tag, error) {
	if len(b) != TagSize {
		return Tag{}, fmt.Errorf("%w: a tag of %d bytes", ErrForeign, len(b))
	}
	return Tag{
		Label:   binary.LittleEndian.Uint32(b),
		Flags:   binary.LittleEndian.Uint32(b[4:]),
		Request: binary.LittleEndian.Uint64(b[8:]),
	}, nil
}

// Named is what a label stands for. The gateway answers GET /-/labels of its admin
// API with a JSON array of them, in any order. Numbers begin at 1 and stay small,
// because they are indices; a number may get another meaning only after a restart.
type Named struct {
	Label    uint32 `json:"label"`
	Route    string `json:"route,omitempty"`
	Arm      string `json:"arm,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
}

// Flags of Timings.
const (
	Tracked    uint32 = 1 << iota // the probe watches this connection; without it nothing else is set
	Upstream                      // the gateway is the client
	Tagged                        // a tag was set
	Accepted                      // AcceptWait is known
	Connection                    // only the connection is measured
	Seeded                        // the connection is older than the probe, so its beginning is unknown
	Held                          // TLS that has not been tagged yet: nothing is counted
)

// Instant is a moment on the clock of the kernel (CLOCK_MONOTONIC), in
// nanoseconds. 0 means that it has not come, or was not seen.
type Instant uint64

// Timings is what the kernel knows of a connection and of the request that it
// carries, or carried last. In is what arrives at the gateway, Out is what it
// writes: towards a client the request comes in, towards an upstream it goes out.
type Timings struct {
	Flags       uint32
	Label       uint32        // of the last Tag
	Requests    uint32        // begun on this connection
	Request     uint64        // of the last Tag
	Cookie      uint64        // of the socket, as SO_COOKIE
	Now         Instant       // when this was read
	Established Instant       // when the handshake of TCP ended
	Connect     time.Duration // SYN to established; upstream only
	AcceptWait  time.Duration // established to accept; client side only
	QueueFirst  time.Duration // how long the first bytes of the current message lay unread
	QueueSum    time.Duration // how long bytes of the current message lay unread, all together
	FirstIn     Instant
	LastIn      Instant
	FirstOut    Instant
	LastOut     Instant
	Acked       Instant       // when everything written had been acknowledged
	SRTT        time.Duration // smoothed round trip of the connection
	Retransmits uint32        // of the connection
}

// Has reports whether all of flags are set.
func (t *Timings) Has(flags uint32) bool { return t.Flags&flags == flags }

// Between is the time from one moment to a later one; false if one of them is
// unknown or they are in the wrong order.
func Between(from, to Instant) (time.Duration, bool) {
	if from == 0 || to < from {
		return 0, false
	}
	return time.Duration(to - from), true
}

// Append adds the bytes of the option to b, as the probe writes them.
func (t *Timings) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, Version)
	b = le.AppendUint16(b, TimingsSize)
	b = le.AppendUint32(b, t.Flags)
	b = le.AppendUint32(b, t.Label)
	b = le.AppendUint32(b, t.Requests)
	for _, v := range []uint64{
		t.Request, t.Cookie, uint64(t.Now), uint64(t.Established), uint64(t.Connect), uint64(t.AcceptWait),
		uint64(t.QueueFirst), uint64(t.QueueSum), uint64(t.FirstIn), uint64(t.LastIn), uint64(t.FirstOut),
		uint64(t.LastOut), uint64(t.Acked),
	} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, uint32(t.SRTT/time.Microsecond))
	return le.AppendUint32(b, t.Retransmits)
}

// Decode reads the bytes of the option. Those of a newer probe may be longer.
func (t *Timings) Decode(b []byte) error {
	if len(b) < TimingsSize {
		return fmt.Errorf("%w: %d bytes", ErrForeign, len(b))
	}
	le := binary.LittleEndian
	if version, size := le.Uint16(b), le.Uint16(b[2:]); version != Version || size < TimingsSize {
		return fmt.Errorf("%w: version %d of %d bytes", ErrForeign, version, size)
	}
	*t = Timings{
		Flags: le.Uint32(b[4:]), Label: le.Uint32(b[8:]), Requests: le.Uint32(b[12:]),
		Request: le.Uint64(b[16:]), Cookie: le.Uint64(b[24:]),
		Now: Instant(le.Uint64(b[32:])), Established: Instant(le.Uint64(b[40:])),
		Connect: span(b[48:]), AcceptWait: span(b[56:]), QueueFirst: span(b[64:]), QueueSum: span(b[72:]),
		FirstIn: Instant(le.Uint64(b[80:])), LastIn: Instant(le.Uint64(b[88:])),
		FirstOut: Instant(le.Uint64(b[96:])), LastOut: Instant(le.Uint64(b[104:])), Acked: Instant(le.Uint64(b[112:])),
		SRTT: time.Duration(le.Uint32(b[120:])) * time.Microsecond, Retransmits: le.Uint32(b[124:]),
	}
	return nil
}

// span is a duration of the kernel; one that no clock can have measured is 0.
func span(b []byte) time.Duration { return max(time.Duration(binary.LittleEndian.Uint64(b)), 0) }
