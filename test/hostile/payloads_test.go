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
		upgradeRows(), trailerRows(), expectationRows(), hiddenRows())
}

// N1: of all requests that a strict edge must not pass on, the upstream gets
// those that net/http hides, and no others; of the others not a byte, unless a
// body turned out to be broken after its head was good.
func TestNothingHostilePasses(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	hostile, whole, begun, hidden := 0, 0, 0, len(hiddenRows())
	for _, r := range payloads() {
		isHidden := slices.ContainsFunc(hiddenRows(), func(h row) bool { return h.name == r.name })
		if r.status < 400 && !isHidden {
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
	if whole != hidden || hostile < 150 {
		t.Errorf("of %d hostile requests %d reached the upstream, want the %d that are hidden", hostile, whole, hidden)
	}
}
