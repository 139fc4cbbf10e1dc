package upstream

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// ledger is a circuit that admits everything and writes down how it ended.
type ledger struct {
	mu   sync.Mutex
	said []string
	took time.Duration // of the last head
}

func (l *ledger) Passes(*gateway.Exchange, string, *gateway.Endpoint) bool { return true }
func (l *ledger) PerEndpoint() bool                                        { return false }
func (l *ledger) Admit(*gateway.Exchange, string, *gateway.Endpoint) (gateway.Admission, bool) {
	return gateway.Admission{Of: l}, true
}
func (l *ledger) Refused(*gateway.Exchange, string) *gateway.Error { return nil }
func (l *ledger) Instead(*gateway.Exchange) http.RoundTripper      { return nil }
func (l *ledger) FailedStatus(code int) bool                       { return code >= 500 }
func (l *ledger) FailedGRPC(code int, _ time.Duration, own bool) bool {
	return code == 14 || code == 2 || code == 4 && !own
}
func (l *ledger) Answered(uint64, bool) {}
func (l *ledger) Ended(_ uint64, o gateway.Outcome, waited time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, [...]string{"none", "good", "bad"}[o])
	l.took = waited
}

// TestGRPCStatusCounts finds the status of a call in the trailers, and in the head
// of an answer without a message.
func TestGRPCStatusCounts(t *testing.T) {
	for _, c := range []struct{ name, status, timeout, want string }{
		{"ok", "0", "", "good"},
		{"unavailable", "14", "", "bad"},
		{"not_found", "5", "", "good"},
		{"no status", "", "", "bad"},
		{"the service's deadline", "4", "", "bad"},
		{"the caller's deadline", "4", "1m", "good"},
	} {
		for _, message := range []bool{true, false} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cluster := piped(t, nil, h2(func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Content-Type", "application/grpc")
						name := "Grpc-Status"
						if message {
							_, _ = io.WriteString(w, "a message")
							name = http.TrailerPrefix + name
						}
						if c.status != "" {
							w.Header().Set(name, c.status)
						}
					}))
					r, x := request(t, "POST", nil)
					r.ProtoMajor, r.Header = 2, http.Header{"Content-Type": {"application/grpc"}}
					if c.timeout != "" {
						r.Header.Set("Grpc-Timeout", c.timeout)
					}
					l := new(ledger)
					x.Circuit = l
					resp, err := cluster.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					if message && len(l.said) != 0 {
						t.Error("judged before the end")
					}
					_, _ = read(t, resp)
					if diff := cmp.Diff([]string{c.want}, l.said); diff != "" {
						t.Error(diff)
					}
				})
			})
		}
	}
}

// TestOutcomes are attempts over HTTP/1.
func TestOutcomes(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(map[string]int{"GET": 200, "PUT": 503, "DELETE": 204, "HEAD": 200}[r.Method])
		if r.Method == "GET" {
			_, _ = io.WriteString(w, "the answer")
		}
	}, nil)
	c := start(t, at(addr), nil)
	f := func(name, method, want string, leave bool) {
		t.Helper()
		r, x := request(t, method, nil)
		l := new(ledger)
		x.Circuit = l
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if leave {
			resp.Body.Close()
		} else {
			_, _ = read(t, resp)
		}
		if diff := cmp.Diff([]string{want}, l.said); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	f("a whole answer", "GET", "good", false)
	f("no body", "DELETE", "good", false)
	f("only a head", "HEAD", "good", false)
	f("a failure", "PUT", "bad", false)
	f("somebody has enough of a good answer", "GET", "none", true)
	f("somebody has enough of a failure", "PUT", "bad", true)
}
