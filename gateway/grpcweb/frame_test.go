package grpcweb

import (
	"errors"
	"strings"
	"testing"
)

func frame(flags byte, message string) string {
	return string(AppendHead(nil, flags, len(message))) + message
}

func TestScanner(t *testing.T) {
	tests := []struct {
		name       string
		stream     string
		compressed bool
		want, end  error
		messages   int
	}{
		{name: "nothing"},
		{name: "messages", stream: frame(0, "one") + frame(0, "") + frame(0, "three"), messages: 3},
		{name: "as large as may be", stream: frame(0, strings.Repeat("x", 8)), messages: 1},
		{name: "too large, told by its head", stream: "\x00\x00\x00\x00\x09", want: ErrTooLarge},
		{name: "fault 4 GiB", stream: "\x00\xff\xff\xff\xff", want: ErrTooLarge},
		{name: "compressed", stream: frame(1, "zip"), compressed: true, messages: 1},
		{name: "B19 compressed without an encoding", stream: frame(1, "zip"), want: ErrCompressed},
		{name: "trailers in the wrong direction", stream: frame(FlagTrailers, ""), want: ErrFlags},
		{name: "the end of a Connect stream in the wrong direction", stream: frame(FlagEnd, "{}"), want: ErrFlags},
		{name: "ends within a head", stream: frame(0, "one") + "\x00\x00", end: ErrTruncated, messages: 1},
		{name: "ends within a message", stream: frame(0, "one")[:7], end: ErrTruncated, messages: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for step := 1; step <= max(1, len(tt.stream)); step++ { // B19: split frames
				s := Scanner{Max: 8, Compressed: tt.compressed}
				err := scanBy(&s, tt.stream, step)
				if !errors.Is(err, tt.want) {
					t.Fatalf("in pieces of %d: %v, want %v", step, err, tt.want)
				}
				if tt.want == nil && (!errors.Is(s.End(), tt.end) || s.Messages != tt.messages) {
					t.Fatalf("in pieces of %d: ends with %v after %d messages", step, s.End(), s.Messages)
				}
			}
		})
	}
}

func scanBy(s *Scanner, stream string, step int) error {
	for len(stream) > 0 {
		n := min(step, len(stream))
		if err := s.Scan([]byte(stream[:n])); err != nil {
			return err
		}
		stream = stream[n:]
	}
	return nil
}

func TestScannerAllocatesNothing(t *testing.T) {
	stream := []byte(frame(0, "message"))
	s := Scanner{Max: 8}
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Scan(stream); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
