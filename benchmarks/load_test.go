package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// drive runs the clients of a case straight against the origin: for longer if nothing
// was measured, since the machine may have much else to do.
func drive(t *testing.T, test testCase, addr string, rate int) (r loadResult) {
	t.Helper()
	for length := 200 * time.Millisecond; length < 10*time.Second && r.Requests+r.Errors == 0; length *= 2 {
		r = driveFor(t, test, addr, rate, length)
	}
	return r
}

func driveFor(t *testing.T, test testCase, addr string, rate int, length time.Duration) (r loadResult) {
	t.Helper()
	out := new(bytes.Buffer)
	o := loadOptions{test: test, addr: addr, rate: rate, warm: 10 * time.Millisecond, time: length}
	if err := runLoad(t.Context(), o, out); err != nil {
		t.Fatal(err)
	}
	rest, ok := strings.CutPrefix(out.String(), "begin\nend\n")
	if !ok {
		t.Fatalf("the clients said %q", out)
	}
	if err := json.Unmarshal([]byte(rest), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoad(t *testing.T) {
	h1, err := freeAddr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h2c, err := freeAddr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveOrigin(ctx, h1, h2c) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, addr := range []string{h1, h2c} {
		if err := accepts(t.Context(), addr, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range cases {
		if c.kind == kindTLS {
			continue // the origin has none
		}
		addr := h1
		if c.kind == kindGRPC {
			addr = h2c
		}
		for _, rate := range []int{0, 100} {
			if r := drive(t, c, addr, rate); r.Requests == 0 || r.Errors != 0 || r.P50 <= 0 || r.P50 > r.P999 || r.P999 > r.Most {
				t.Errorf("%s at rate %d: %+v", c.name, rate, r)
			}
		}
	}
	wrong := cases[0]
	wrong.size++
	if r := drive(t, wrong, h1, 0); r.Requests != 0 || r.Errors == 0 || r.First != "the body has 128 bytes, not 129" {
		t.Errorf("an answer of the wrong size counts: %+v", r)
	}
}
