package hostile_test

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"testing"
)

// payloads are all requests of the tables, on HTTP/1.
func payloads() []row {
	return slices.Concat(pathRows(), targetRows(), headerRows(), identityRows(), framingRows(), brokenRows(),
		upgradeRows(), trailerRows(), expectationRows(), strictRows())
}

// N1: of all requests that a strict edge must not pass on, the upstream gets not a
// byte, unless a body turned out to be broken after its head was good.
func TestNothingHostilePasses(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	hostile, whole, begun := 0, 0, 0
	for _, r := range payloads() {
		if r.status < 400 {
			continue
		}
		hostile++
		before := e.attempts()
		c := e.dial(t)
		go func() { _, _ = io.WriteString(c, r.in) }()
		method, _, _ := strings.Cut(r.in, " ")
		if _, err := readAnswer(bufio.NewReader(c), method); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
		_ = c.Close()
		if e.upstream.next() != nil {
			whole++
		} else if e.attempts() > before {
			begun++
			if !r.aborted {
				t.Errorf("%s: there was an attempt to send it upstream", r.name)
			}
		}
	}
	t.Logf("of %d hostile requests %d reached the upstream, %d began to", hostile, whole, begun)
	if whole != 0 || hostile < 220 {
		t.Errorf("of %d hostile requests %d reached the upstream", hostile, whole)
	}
}
