package hostile_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// logLine is what an access log tells of a request.
type logLine struct {
	ID, Method, Host, Path, Query, Route, Reason, Cause, Client, Scheme, Arm string

	Status, Attempts int
	Raw              string `json:"-"`
}

// logFile reads an access log while it is written.
type logFile struct {
	path string
	read int // bytes
	rest string
}

// line waits for the line of a request; with an empty id for the next one. Lines
// of other requests are skipped. Every line must be one JSON object.
func (l *logFile) line(tb testing.TB, id string) logLine {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		for {
			text, rest, ok := strings.Cut(l.rest, "\n")
			if !ok {
				break
			}
			l.rest = rest
			if e := parseLine(tb, text); id == "" || e.ID == id {
				return e
			}
		}
		select {
		case <-tick.C:
			l.more(tb)
		case <-late:
			tb.Fatalf("no line for request %q in the access log", id)
		}
	}
}

// more reads what has been written since.
func (l *logFile) more(tb testing.TB) {
	tb.Helper()
	all, err := os.ReadFile(l.path)
	if err != nil {
		tb.Fatal(err)
	}
	l.rest += string(all[l.read:])
	l.read = len(all)
}

func parseLine(tb testing.TB, text string) logLine {
	tb.Helper()
	e := logLine{Raw: text}
	if err := json.Unmarshal([]byte(text), &e); err != nil || !utf8.ValidString(text) {
		tb.Fatalf("%q is no line of JSON: %v", text, err)
	}
	for _, r := range text {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			tb.Fatalf("the line %q holds %q", text, r)
		}
	}
	return e
}

// all is what has been written so far.
func (l *logFile) all(tb testing.TB) string {
	tb.Helper()
	l.more(tb)
	return l.rest
}
