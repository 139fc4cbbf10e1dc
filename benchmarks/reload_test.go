package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestEstate(t *testing.T) {
	e := &estate{origin: "127.0.0.1:9"}
	first, other := e.file(0, 7), e.file(300, 7)
	if n := strings.Count(first, "name: r"); n != reloadFile {
		t.Errorf("%d routes in a file", n)
	}
	if !strings.Contains(first, `path: /live}, use: [{headers: {response: {set: {X-Version: "7"}}}}], to: u0}`) {
		t.Errorf("no version in\n%s", first)
	}
	if strings.Contains(other, reloadHeader) || !strings.Contains(other, "name: r399, match: {host: h399.example.com, prefix: /}, use: [tag], to: u390}") {
		t.Errorf("the fourth file is\n%s", other)
	}
}

func TestAwaitVersion(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 3 {
			w.Header().Set(reloadHeader, "5")
		}
	}))
	defer s.Close()
	if err := awaitVersion(t.Context(), s.Client(), s.URL, "5"); err != nil || asked.Load() != 3 {
		t.Errorf("%v after %d requests, want the third to be the one", err, asked.Load())
	}
}

func TestWriteReload(t *testing.T) {
	of := func(before, during time.Duration) reloadSample {
		return reloadSample{calm: loadResult{P99: before, Requests: 10}, busy: loadResult{P99: during, Requests: 20, Errors: 1}, live: []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, memory: 5 << 20}
	}
	var b strings.Builder
	writeReload(&b, &runOptions{time: time.Second}, []reloadSample{of(2*time.Millisecond, 3*time.Millisecond), of(2*time.Millisecond, 2*time.Millisecond), of(2*time.Millisecond, 8*time.Millisecond)})
	for _, want := range []string{
		"| 0.0 ms | 0.0 ms | 2.0 ms | 3.0 ms | **1.50** | 3 | 2000 ms | 3000 ms | 30 | 1 | 5 |",
		"is 1.50 times the one before in the median, 1.00 to 4.00 times.",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
