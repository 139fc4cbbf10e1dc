package limitview

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseFacts(t *testing.T) {
	f := func(texts []string, want Facts, says string) {
		t.Helper()
		got, err := ParseFacts(texts)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", texts, diff)
		}
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", texts, err, says)
		}
	}
	f(nil, nil, "")
	f([]string{"client=203.0.113.7", "subject=a=b", "route=orders", "host=a.example"},
		Facts{"client": "203.0.113.7", "subject": "a=b", "route": "orders", "host": "a.example"}, "")
	f([]string{"header:x-customer=acme", "cookie:sid=1", "query:q=2", "claim:org.tenant=t"},
		Facts{"header:X-Customer": "acme", "cookie:sid": "1", "query:q": "2", "claim:org.tenant": "t"}, "")
	f([]string{"client=2001:db8::1"}, Facts{"client": "2001:db8::1"}, "")
	const written = "a part of a key is written client=203.0.113.7"
	for _, bad := range []string{"client", "client=", "=x", "client:x=203.0.113.7", "header=x", "header:=x", "all=x", "203.0.113.7"} {
		f([]string{bad}, nil, written)
	}
	f([]string{"client=me"}, nil, "a client is an IP address")
	f([]string{"header:x-a=1", "header:X-A=2"}, nil, "header:X-A is there twice")
	f(make([]string, mostFacts+1), nil, "at most 32 parts")
}

// What an operator has mistyped may be a key of somebody: no error repeats it.
func TestMistakesTellNoSecrets(t *testing.T) {
	for _, text := range []string{"sk-very-secret", "subjct=sk-very-secret", "client=sk-very-secret"} {
		if _, err := ParseFacts([]string{text}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// bucket is a rate limit that tells which facts it was asked about.
type bucket struct{ asked []Facts }

func (b *bucket) Rate() Rate { return Rate{Algorithm: "gcra"} }

func (b *bucket) Left(_ context.Context, who Facts) *Caller {
	b.asked = append(b.asked, who)
	return &Caller{Told: "local"}
}

func names(r *Report) (all []string) {
	for _, l := range r.Rates {
		all = append(all, "rate "+l.Name)
	}
	for _, l := range r.Concurrency {
		all = append(all, "concurrency "+l.Name)
	}
	for _, l := range r.Adaptive {
		all = append(all, "adaptive "+l.Name)
	}
	return all
}

func TestRegistry(t *testing.T) {
	r, b := NewRegistry(), new(bucket)
	forget := []func(){
		r.ShowRate("fair", b), r.ShowRate("burst", b),
		r.ShowConcurrency("fair", func() Concurrency { return Concurrency{Limit: 7} }),
		r.ShowAdaptive("zebra", func() Adaptive { return Adaptive{State: "broken"} }),
	}
	wants := func(name string, want ...string) {
		t.Helper()
		report := r.Report(t.Context(), name, nil)
		if diff := cmp.Diff(want, names(&report)); diff != "" || report.Empty() != (len(want) == 0) {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
	wants("", "rate burst", "rate fair", "concurrency fair", "adaptive zebra")
	wants("fair", "rate fair", "concurrency fair")
	wants("fai")
	if len(b.asked) != 0 {
		t.Errorf("asked about %v", b.asked)
	}
	who := Facts{"client": "203.0.113.7"}
	if got := r.Report(t.Context(), "fair", who); got.Rates[0].Caller.Told != "local" || len(b.asked) != 1 {
		t.Errorf("%+v, asked %v", got.Rates, b.asked)
	}
	// Of two under one name the later one is shown, until it goes; it does not come
	// back when the earlier one goes.
	later := r.ShowConcurrency("fair", func() Concurrency { return Concurrency{Limit: 8} })
	forget[2]()
	if got := r.Report(t.Context(), "fair", nil).Concurrency; len(got) != 1 || got[0].Limit != 8 {
		t.Errorf("%+v", got)
	}
	later()
	forget[0]()
	wants("", "rate burst", "adaptive zebra")
}

func TestReportIsBounded(t *testing.T) {
	r := NewRegistry()
	for i := range most + 5 {
		r.ShowRate(fmt.Sprintf("route/%05d", i), new(bucket))
	}
	got := r.Report(t.Context(), "", nil)
	if len(got.Rates) != most || got.LeftOff != 5 {
		t.Errorf("%d limits, %d left off", len(got.Rates), got.LeftOff)
	}
	if got := r.Report(t.Context(), fmt.Sprintf("route/%05d", most+4), nil); len(got.Rates) != 1 || got.LeftOff != 0 {
		t.Errorf("by name: %d limits, %d left off", len(got.Rates), got.LeftOff)
	}
}

func TestSeconds(t *testing.T) {
	if d := In(1500 * time.Millisecond); d != 1.5 || d.Duration() != 1500*time.Millisecond {
		t.Error(d, d.Duration())
	}
}
