package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// pipeListener has connections without a network, so that time can be made to pass.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inTime runs test with an introspection whose server is h, and virtual time. m.send
// sends a request with a token.
func inTime(t *testing.T, c OAuth2IntrospectionConfig, h http.HandlerFunc, test func(*testing.T, *introspection)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(l) }) // returns when it is closed
		c.Endpoint, c.Client = "http://127.0.0.1/introspect", OAuth2Client{ID: "pithead", Secret: "s3cret", Auth: authBasic}
		c.Audience, c.Subject, c.Realm, c.MaxInFlight = []string{anyAudience}, "sub", "pithead", max(c.MaxInFlight, 1)
		client, _, err := newOAuth2Client(c.Client, c.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		p := newIntrospector(c, client, slog.New(slog.DiscardHandler))
		p.transport.DialContext = l.dial
		test(t, c.with(p, newVerdicts(c.Cache.Size)))
		if err := errors.Join(p.Close(), server.Shutdown(context.Background())); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
}

func standard() OAuth2IntrospectionConfig {
	return OAuth2IntrospectionConfig{Timeout: 2 * time.Second, MaxInFlight: 100, Cache: OAuth2Cache{Size: 100, TTL: time.Minute, Negative: 5 * time.Second}}
}

// send is the answer to a request with a token.
func (m *introspection) send(ctx context.Context, token string) (status int, x *gateway.Exchange) {
	x = &gateway.Exchange{}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	m.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, gateway.WithExchange(r, x))
	return w.Code, x
}

// hung answers when the client has left.
func hung(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// answers are active:true until something of the clock.
func answers(asked *int, more func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		*asked++
		_, _ = io.WriteString(w, `{"active":true,"sub":"alice"`+more()+`}`)
	}
}

func TestIntrospectionTimes(t *testing.T) {
	t.Run("K09 no answer for 2 s", func(t *testing.T) {
		inTime(t, standard(), hung, func(t *testing.T, m *introspection) {
			begin := time.Now()
			status, x := m.send(t.Context(), "t")
			if took := time.Since(begin); status != 503 || x.Err.Reason != "introspection_unavailable" || took > 2100*time.Millisecond {
				t.Errorf("%d %v after %s", status, x.Err, took)
			}
		})
	})
	remembered := func(more func() string, holds time.Duration) func(*testing.T) {
		return func(t *testing.T) {
			asked := 0
			inTime(t, standard(), answers(&asked, more), func(t *testing.T, m *introspection) {
				m.send(t.Context(), "t")
				<-time.After(holds - time.Millisecond)
				if status, _ := m.send(t.Context(), "t"); status != 200 || asked != 1 {
					t.Errorf("status %d, asked %d times shortly before %s", status, asked, holds)
				}
				<-time.After(2 * time.Millisecond)
				if m.send(t.Context(), "t"); asked != 2 {
					t.Errorf("asked %d times after %s", asked, holds)
				}
			})
		}
	}
	t.Run("K10 exp in 10 s", remembered(func() string { return fmt.Sprintf(`,"exp":%d`, time.Now().Add(10*time.Second).Unix()) }, 10*time.Second))
	t.Run("K10 exp in an hour", remembered(func() string { return fmt.Sprintf(`,"exp":%d`, time.Now().Add(time.Hour).Unix()) }, time.Minute))
	t.Run("K10 no exp", remembered(func() string { return "" }, time.Minute))
	t.Run("K12 negative for 5 s", func(t *testing.T) {
		asked := 0
		inTime(t, standard(), func(w http.ResponseWriter, _ *http.Request) {
			asked++
			_, _ = io.WriteString(w, `{"active":false}`)
		}, func(t *testing.T, m *introspection) {
			for i, want := range []int{1, 1, 2} {
				if status, _ := m.send(t.Context(), "t"); status != 401 || asked != want {
					t.Errorf("question %d: status %d, asked %d times, want %d", i, status, asked, want)
				}
				<-time.After(2600 * time.Millisecond)
			}
		})
	})
}

// K12: requests with one token wait for one answer, also when the first of them leaves.
func TestIntrospectionSingleFlight(t *testing.T) {
	asked := 0
	slow := answers(&asked, func() string { <-time.After(time.Second); return "" })
	inTime(t, standard(), slow, func(t *testing.T, m *introspection) {
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, x := m.send(ctx, "t"); x.Status != gateway.StatusClientClosed {
				t.Errorf("status %d of the one who left", x.Status)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if status, x := m.send(t.Context(), "t"); status != 200 || x.Subject != "alice" {
					t.Errorf("status %d, subject %q", status, x.Subject)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// Questions beyond max_in_flight wait for half of the timeout, and are not held against the server.
func TestIntrospectionMaxInFlight(t *testing.T) {
	c := standard()
	c.MaxInFlight = 1
	inTime(t, c, func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(900 * time.Millisecond)
		_, _ = io.WriteString(w, `{"active":true,"sub":"alice"}`)
	}, func(t *testing.T, m *introspection) {
		var all sync.WaitGroup
		var mu sync.Mutex
		count := map[int]int{}
		for i := range 10 {
			all.Go(func() {
				status, _ := m.send(t.Context(), fmt.Sprint("t", i))
				mu.Lock()
				count[status]++
				mu.Unlock()
			})
		}
		all.Wait()
		if s := m.provider.state(); count[200] != 2 || count[503] != 8 || s.Skipped != 8 || s.Open {
			t.Errorf("%v, %+v", count, s)
		}
	})
}

// R13, R14: the breaker opens, lets a few questions through after its pause, cannot be
// kept half open by a server that hangs, and forgets.
func TestIntrospectionBreaker(t *testing.T) {
	var mu sync.Mutex
	asked, mode := 0, "fail"
	h := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		now := mode
		mu.Unlock()
		switch now {
		case "fail":
			w.WriteHeader(500)
		case "hang":
			hung(w, r)
		default:
			_, _ = io.WriteString(w, `{"active":true,"sub":"alice"}`)
		}
	}
	set := func(s string) { mu.Lock(); mode, asked = s, 0; mu.Unlock() }
	inTime(t, standard(), h, func(t *testing.T, m *introspection) {
		token := 0
		many := func(n int) (reasons map[string]int) {
			reasons = make(map[string]int)
			var all sync.WaitGroup
			for range n {
				token++
				name := fmt.Sprint("t", token)
				all.Go(func() {
					_, x := m.send(t.Context(), name)
					mu.Lock()
					defer mu.Unlock()
					if x.Err == nil {
						reasons["ok"]++
					} else {
						reasons[x.Err.Reason]++
					}
				})
				if now := mode; now != "hang" {
					all.Wait()
				}
			}
			all.Wait()
			return reasons
		}
		if got := many(20); asked != 5 || got["introspection_breaker"] != 15 {
			t.Errorf("closed: asked %d times, %v", asked, got)
		}
		<-time.After(5100 * time.Millisecond)
		set("hang")
		begin := time.Now()
		if got := many(20); asked != 3 || got["introspection_breaker"] != 17 || time.Since(begin) > 2100*time.Millisecond {
			t.Errorf("R13 half open and hanging: asked %d times, %v after %s", asked, got, time.Since(begin))
		}
		set("ok")
		<-time.After(5100 * time.Millisecond)
		if got := many(20); asked != 20 || got["ok"] != 20 || m.provider.state().Open {
			t.Errorf("back: asked %d times, %v", asked, got)
		}
		set("fail")
		many(4)
		<-time.After(11 * time.Second)
		if many(4); m.provider.state().Open {
			t.Error("R14: failures of long ago count")
		}
	})
}

// K12: made-up tokens in any number neither take more memory than is said nor drive out one that is good.
func TestIntrospectionCacheIsBounded(t *testing.T) {
	v, now := newVerdicts(1000), time.Now()
	v.put("good", &verdict{subject: "alice", until: now.Add(time.Minute)}, now)
	refusal := &gateway.Error{}
	for i := range 200_000 {
		v.put(fmt.Sprintf("junk-%d", i), &verdict{refusal: refusal, until: now.Add(5 * time.Second)}, now)
	}
	known := 0
	for i := range v.refused.slots {
		if v.refused.slots[i].Load() != nil {
			known++
		}
	}
	if known > 1000 || v.refused.bytes.Load() > 1000*(entryBytes+16) {
		t.Errorf("%d tokens in %d bytes", known, v.refused.bytes.Load())
	}
	if got := v.get("good", now); got == nil || got.subject != "alice" {
		t.Errorf("the good one is %+v", got)
	}
	if v.get("good", now.Add(time.Minute)) != nil {
		t.Error("it is good for ever")
	}
	big := make([]byte, maxOpaqueToken)
	for i := range 10_000 {
		copy(big, fmt.Sprintf("%08d", i))
		v.put(string(big), &verdict{refusal: refusal, until: now.Add(time.Hour)}, now)
		if v.refused.bytes.Load() > maxVerdictBytes {
			t.Fatalf("%d bytes", v.refused.bytes.Load())
		}
	}
	none := newVerdicts(0)
	none.put("t", &verdict{until: now.Add(time.Hour)}, now)
	if none.get("t", now) != nil {
		t.Error("a cache of size 0 remembers")
	}
}
