package anatomy

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func example() Timings {
	return Timings{
		Flags: Tracked | Tagged, Label: 7, Requests: 3, Request: 0xfeedface, Cookie: 99, Now: 1000, Established: 10,
		Connect: 11, AcceptWait: 12, QueueFirst: 13, QueueSum: 14, FirstIn: 15, LastIn: 16, FirstOut: 17, LastOut: 18,
		Acked: 19, SRTT: 20 * time.Microsecond, Retransmits: 21,
	}
}

func TestTimingsKeepEveryField(t *testing.T) {
	want := example()
	raw := want.Append(nil)
	if len(raw) != TimingsSize {
		t.Fatalf("%d bytes, want %d", len(raw), TimingsSize)
	}
	var got Timings
	if err := got.Decode(append(raw, "of a newer probe"...)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for n := range raw {
		if err := got.Decode(raw[:n]); !errors.Is(err, ErrForeign) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	raw[0]++
	if err := got.Decode(raw); !errors.Is(err, ErrForeign) {
		t.Errorf("another version: %v", err)
	}
}

func TestTagsKeepEveryField(t *testing.T) {
	want := Tag{Label: 1, Flags: TagUpstream | TagConnection, Request: 1 << 63}
	got, err := DecodeTag(want.Append(nil))
	if err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := DecodeTag(make([]byte, TagSize+1)); !errors.Is(err, ErrForeign) {
		t.Errorf("a long tag: %v", err)
	}
}

func TestBetween(t *testing.T) {
	for _, c := range []struct {
		from, to Instant
		want     time.Duration
		ok       bool
	}{{10, 15, 5, true}, {10, 10, 0, true}, {0, 5, 0, false}, {5, 0, 0, false}, {5, 4, 0, false}} {
		if got, ok := Between(c.from, c.to); got != c.want || ok != c.ok {
			t.Errorf("Between(%d, %d) = %v, %v", c.from, c.to, got, ok)
		}
	}
}

// A machine may run a probe while this runs, but not on this socket's port: then
// the answer is that the connection is not tracked.
func TestWithoutAProbe(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		var got Timings
		if err := got.Read(fd); !errors.Is(err, ErrNoProbe) && (err != nil || got.Has(Tracked)) {
			t.Errorf("read: %v", err)
		}
		if err := (Tag{Label: 1}).Set(fd); err != nil && !errors.Is(err, ErrNoProbe) {
			t.Errorf("set: %v", err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = got.Read(fd); _ = (Tag{Label: 1}).Set(fd) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		if err := got.Read(1 << 20); err == nil || errors.Is(err, ErrNoProbe) {
			t.Errorf("a descriptor that is not open: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	seed := example()
	f.Add(seed.Append(nil))
	f.Add(Tag{Label: 1, Request: 2}.Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if tag, err := DecodeTag(raw); err == nil && !bytes.Equal(tag.Append(nil), raw) {
			t.Errorf("tag %v", tag)
		}
		var got Timings
		if err := got.Decode(raw); err != nil {
			return
		}
		var again Timings
		if err := again.Decode(got.Append(nil)); err != nil || again != got {
			t.Errorf("%v, then %v (%v)", got, again, err)
		}
		for _, d := range []time.Duration{got.Connect, got.AcceptWait, got.QueueFirst, got.QueueSum, got.SRTT} {
			if d < 0 {
				t.Errorf("a negative duration in %v", got)
			}
		}
	})
}
