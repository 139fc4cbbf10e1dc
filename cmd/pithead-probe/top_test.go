//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/pithead/pithead/bpf"
	"github.com/pithead/pithead/gateway/anatomy"
)

// hist is n durations of d.
func hist(n uint64, d time.Duration) *bpf.Histogram {
	h := &bpf.Histogram{Sum: time.Duration(n) * d}
	i := 0
	for bpf.Edge(i) <= d {
		i++
	}
	h.Counts[i] = n
	return h
}

// state is a snapshot in which two routes have had n requests each.
func state(at time.Time, n uint64) *answer {
	rows := []jsonRow{}
	for label, route := range map[uint32]string{1: "orders", 2: "stock"} {
		wait := time.Duration(label) * 10 * time.Millisecond
		rows = append(rows, jsonRow{
			Named: anatomy.Named{Label: label, Route: route}, Side: "server",
			Counters: bpf.Counters{Requests: n, Connections: 1, Retransmits: n / 10},
			Durations: []jsonDuration{
				durationOf("total", "2xx", hist(n/2, wait+2*time.Millisecond)),
				durationOf("total", "5xx", hist(n/2, wait+2*time.Millisecond)),
				durationOf("ttfb_first", "5xx", hist(n/2, wait)),
				durationOf("queue", "", hist(n, time.Millisecond)),
				durationOf("drain", "2xx", hist(n, 30*time.Millisecond)),
			},
		}, jsonRow{
			Named: anatomy.Named{Label: label, Route: route, Endpoint: "192.0.2.1:80"}, Side: "upstream",
			Counters: bpf.Counters{Requests: n},
			Durations: []jsonDuration{
				durationOf("total", "2xx", hist(n, wait)),
				durationOf("ttfb_last", "2xx", hist(n, wait)),
				durationOf("rtt_min", "", hist(n, time.Millisecond)),
			},
		})
	}
	return &answer{At: at, Rows: rows}
}

func TestTimeIsDivided(t *testing.T) {
	begun := time.Unix(1000, 0)
	i := between(state(begun, 100), state(begun.Add(2*time.Second), 300), "route")
	i.order("name")
	if len(i.Lines) != 2 || i.Lines[0].Route != "orders" {
		t.Fatalf("%+v", i.Lines)
	}
	l := i.Lines[0]
	if l.Requests != 200 || l.Rate != 100 || l.Errors != 0.5 || l.Retransmits != 20 || l.Connections != 0 || l.Most != "service" {
		t.Errorf("%+v", l)
	}
	want := [phases]time.Duration{inQueue: time.Millisecond, inGateway: time.Millisecond, inNetwork: time.Millisecond, inService: 9 * time.Millisecond}
	share := 0.0
	for j, p := range l.Phases {
		share += p.Share
		if p.Mean != want[j] {
			t.Errorf("%s: %v, want %v", p.Name, p.Mean, want[j])
		}
	}
	if share < 0.999 || share > 1.001 {
		t.Errorf("the shares add up to %v", share)
	}
}

// A probe that was restarted has counted less than before.
func TestRestartedProbe(t *testing.T) {
	begun := time.Unix(1000, 0)
	i := between(state(begun, 1000), state(begun.Add(time.Second), 10), "route")
	for _, l := range i.Lines {
		if l.Requests != 10 || l.Total.P50 > time.Second {
			t.Errorf("%+v", l)
		}
	}
	if i := between(state(begun, 10), state(begun.Add(time.Second), 10), "route"); len(i.Lines) != 0 {
		t.Errorf("nothing has happened: %+v", i.Lines)
	}
}

func TestLinesAreGroupedAndSorted(t *testing.T) {
	begun := time.Unix(1000, 0)
	if n := len(between(state(begun, 0), state(begun.Add(time.Second), 10), "endpoint").Lines); n != 4 {
		t.Errorf("%d lines by endpoint, want 4", n)
	}
	i := between(state(begun, 0), state(begun.Add(time.Second), 10), "arm")
	for by, first := range map[string]string{"time": "stock", "requests": "orders", "p99": "stock", "errors": "orders", "name": "orders"} {
		if i.order(by); i.Lines[0].Route != first {
			t.Errorf("by %s %s comes first", by, i.Lines[0].Route)
		}
	}
}

// However narrow it is, no line is longer, and what matters most stays.
func TestTablesFitTheirWidth(t *testing.T) {
	begun := time.Unix(1000, 0)
	i := between(state(begun, 0), state(begun.Add(time.Second), 10), "route")
	i.Names, i.Missing = strings.Repeat("name ", 100), []string{strings.Repeat("tier ", 100)}
	i.Lines[1].Route = "näme\x1b[2J of a route that is much too long for any terminal"
	for width := 44; width < 240; width++ {
		var b strings.Builder
		i.table(&b, table{width: width})
		for text := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(text, "\n")); n > width {
				t.Fatalf("%d characters in a width of %d: %q", n, width, text)
			}
		}
		if !strings.Contains(b.String(), "MOST OF IT") || !strings.Contains(b.String(), "REQ/S") || strings.Contains(b.String(), "\x1b") {
			t.Fatalf("width %d:\n%s", width, b.String())
		}
	}
	var b strings.Builder
	i.table(&b, table{width: 300, lines: 2, colors: true})
	if !strings.Contains(b.String(), "and 1 more") || !strings.Contains(b.String(), "\x1b[30;42ms") || !strings.Contains(b.String(), "DRAIN p99") {
		t.Errorf("%q", b.String())
	}
}

func TestShortDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "-", 512: "0.51us", 1500: "1.50us", 99949: "99.9us", 999 * time.Microsecond: "999us", 999600: "1.00ms",
		20 * time.Millisecond: "20.0ms", 1234 * time.Millisecond: "1.23s", 2 * time.Minute: "120s",
	} {
		if got := short(d); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
}

func TestHistogramsPassThroughJSON(t *testing.T) {
	h := &bpf.Histogram{Sum: 7}
	for i := range h.Counts {
		h.Counts[i] = uint64(i)
	}
	d := durationOf("total", "", h)
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back jsonDuration
	if err := json.Unmarshal(text, &back); err != nil || *back.histogram() != *h {
		t.Errorf("%v: not the same", err)
	}
}

// counting answers with more requests each time.
type counting struct{ asked uint64 }

func (c *counting) answer(context.Context) (*answer, error) {
	c.asked++
	if c.asked == 5 {
		return nil, errors.New("gone")
	}
	return state(time.Now(), c.asked*100), nil
}

func TestOneTableForEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &topSettings{every: 2 * time.Second, by: "route", sort: "name", json: true}
		begun := time.Now()
		err := show(t.Context(), &counting{}, s, &screen{out: &out, json: true, sort: "name"})
		if err == nil || err.Error() != "gone" || time.Since(begun) != 8*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		dec, n := json.NewDecoder(&out), 0
		for ; dec.More(); n++ {
			var i interval
			if err := dec.Decode(&i); err != nil || i.Span != 2*time.Second || i.Lines[0].Rate != 50 {
				t.Errorf("%v: %+v", err, i)
			}
		}
		if n != 3 {
			t.Errorf("%d intervals", n)
		}
	})
}

func TestTopIsToldNonsense(t *testing.T) {
	for say, args := range map[string][]string{
		"--every":                  {"--probe", "a:1", "--every", "0s"},
		"--by \"x\"":               {"--by", "x"},
		"--sort \"x\"":             {"--sort", "x"},
		"has been told what":       {"--probe", "a:1", "--port", "1"},
		"nothing to watch":         {},
		"unknown command \"best\"": {"best"},
	} {
		if !strings.HasPrefix(say, "unknown command") {
			args = append([]string{"top"}, args...)
		}
		var out, errs bytes.Buffer
		if status := run(t.Context(), args, &out, &errs); status != statusConfig || !strings.Contains(errs.String(), say) {
			t.Errorf("%v: status %d, %s", args, status, errs.String())
		}
	}
}

func TestProbeThatDoesNotAnswer(t *testing.T) {
	for say, handler := range map[string]http.HandlerFunc{
		"answers 500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"EOF":         func(http.ResponseWriter, *http.Request) {},
	} {
		server := httptest.NewServer(handler)
		defer server.Close()
		var out, errs bytes.Buffer
		status := run(t.Context(), []string{"top", "--probe", server.Listener.Addr().String()}, &out, &errs)
		if status != statusFailed || !strings.Contains(errs.String(), say) {
			t.Errorf("status %d, %s", status, errs.String())
		}
	}
}
