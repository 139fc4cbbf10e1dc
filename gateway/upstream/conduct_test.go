package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

func TestClientsEjectNobody(t *testing.T) {
	bubble(t, "one that leaves", func(t *testing.T) {
		c, w := wired(t, 2, OutlierOptions{Errors: 1, Gateway: 1, Connect: 1})
		w.set("a:1", host{answer: answer(200), after: time.Second})
		w.set("b:1", host{answer: answer(200), after: time.Second})
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			r, _ := requestContext(ctx, t, "GET", nil)
			time.AfterFunc(5*time.Millisecond, cancel)
			if _, err := c.RoundTrip(r); err == nil {
				t.Error("there was an answer")
			}
			cancel()
		}
		wantOut(t, c, "")
		after(time.Second) // the services have given up too
		if n := c.opts.Stats.Acquire("a:1").Conduct.Ended.Load(); n != 0 {
			t.Errorf("%d attempts are taken to say something", n)
		}
	})
	bubble(t, "one whose body breaks", func(t *testing.T) {
		c, _ := wired(t, 2, OutlierOptions{Errors: 1, Gateway: 1, Connect: 1})
		for range 20 {
			r, _ := request(t, "POST", io.MultiReader(strings.NewReader("half a "), &brokenReader{}))
			if _, err := c.RoundTrip(r); err == nil {
				t.Error("there was an answer")
			}
		}
		wantOut(t, c, "")
	})
}

type brokenReader struct{}

func (*brokenReader) Read([]byte) (int, error) { return 0, errors.New("the client is gone") }

func TestGRPCDeeds(t *testing.T) {
	for status, want := range map[int]deed{0: didWell, 1: didNothing, 2: didError, 3: didWell, 4: didNothing, 5: didWell, 8: didWell, 12: didWell, 13: didError, 14: didFail, 15: didError, 16: didWell} {
		if got := grpcDeed(status); got != want {
			t.Errorf("status %d is taken for %d, want %d", status, got, want)
		}
	}
}

// A status in the trailers comes after the head said that all was well.
func TestGRPCTrailersEject(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := start(t, at("a:1", "b:1"), func(o *Options) {
			h2(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Trailer", "Grpc-Status")
				w.Header().Set("Content-Type", "application/grpc")
				_, _ = io.WriteString(w, "a message")
				w.Header().Set("Grpc-Status", map[string]string{"a:1": "0", "b:1": "14"}[r.Host])
			})(o)
			o.Outliers = OutlierOptions{Gateway: 5, MaxPercent: 50}
		})
		for range 10 {
			r, _ := request(t, "POST", strings.NewReader("a message"))
			r.ProtoMajor = 2
			r.Header.Set("Content-Type", "application/grpc")
			r.Host = ""
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = read(t, resp)
		}
		if got := out(c); got != "b:1 consecutive_gateway_errors 1" {
			t.Errorf("ejected are %q", got)
		}
	})
}

// What is told of each request costs it nothing that others could feel.
func TestReportBudget(t *testing.T) {
	c := start(t, at("10.0.0.1:80"), func(o *Options) {
		o.Outliers = OutlierOptions{Errors: 1 << 30, Gateway: 1 << 30, Connect: 1 << 30, MaxPercent: 50}
	})
	x := new(gateway.Exchange)
	ep, err := c.Pick(x)
	if err != nil {
		t.Fatal(err)
	}
	good := &attempt{c: c, x: x, ep: ep, resp: &http.Response{StatusCode: http.StatusOK}, judged: judged{whole: true}}
	bad := &attempt{c: c, x: x, ep: ep}
	failure := &gateway.Error{Reason: "connect_failed", Cause: gateway.CauseNetwork}
	if n := testing.AllocsPerRun(100, func() {
		good.report(nil)
		bad.report(failure)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	own := &ep.Stats.Conduct
	if own.Ended.Load() != 202 || own.Bad.Load() != 101 || own.Connect.Load() != 1 {
		t.Errorf("counted %d of which %d are bad, %d in a row without a connection", own.Ended.Load(), own.Bad.Load(), own.Connect.Load())
	}
}

func BenchmarkReport(b *testing.B) {
	c := start(b, at("10.0.0.1:80"), asConfigured)
	x := new(gateway.Exchange)
	ep, err := c.Pick(x)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		a := &attempt{c: c, x: x, ep: ep, resp: &http.Response{StatusCode: http.StatusOK}, judged: judged{whole: true}}
		for pb.Next() {
			a.report(nil)
		}
	})
}
