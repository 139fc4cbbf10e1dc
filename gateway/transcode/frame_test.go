package transcode

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestFrames(t *testing.T) {
	var stream []byte
	want := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), 1000), []byte("last")}
	for _, msg := range want {
		start := len(stream)
		stream = append(AppendFrame(stream), msg...)
		EndFrame(stream, start)
	}
	for size := 1; size <= len(stream); size += 7 {
		f := Frames{Max: 1000}
		var got [][]byte
		for rest := stream; len(rest) > 0; {
			n := min(size, len(rest))
			if err := f.Write(rest[:n], func(msg []byte) error { got = append(got, bytes.Clone(msg)); return nil }); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if len(got) != len(want) || f.Rest() {
			t.Fatalf("in pieces of %d: %d messages, rest %t", size, len(got), f.Rest())
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("in pieces of %d: message %d is %q", size, i, got[i])
			}
		}
	}
}

func TestFramesRefuse(t *testing.T) {
	for name, tt := range map[string]struct {
		bytes string
		want  error
	}{
		"B19 length":     {"\x00\xff\xff\xff\xff", ErrTooLarge},
		"B19 compressed": {"\x01\x00\x00\x00\x01a", ErrCompressed},
		"flag":           {"\x02\x00\x00\x00\x00", ErrFrame},
	} {
		f := Frames{Max: 10}
		if err := f.Write([]byte(tt.bytes), func([]byte) error { return nil }); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if cap(f.buf) > 64 {
			t.Errorf("%s: made room for %d bytes", name, cap(f.buf))
		}
	}
}

func TestTimeouts(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1S": time.Second, "99999999n": 99999999, "5m": 5 * time.Millisecond, "2H": 2 * time.Hour, "7u": 7 * time.Microsecond, "3M": 3 * time.Minute,
	} {
		if got, ok := ParseTimeout(text); got != want || !ok {
			t.Errorf("%s is %s", text, got)
		}
	}
	for _, text := range []string{"", "1", "S", "-1S", "123456789S", "1s", "1 S"} {
		if _, ok := ParseTimeout(text); ok {
			t.Errorf("%q passes", text)
		}
	}
	for _, d := range []time.Duration{0, 1, time.Second, 3 * time.Hour, 10_000 * time.Hour} {
		got, ok := ParseTimeout(FormatTimeout(d))
		if !ok || got > d || d-got > d/1_000_000 {
			t.Errorf("%s becomes %s, %s", d, FormatTimeout(d), got)
		}
	}
}
