package middleware_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestHeadersOfRequests(t *testing.T) {
	env, _ := orders(t)
	middlewaretest.Run(t, env, "headers: {request: {set: {x-env: prod}, add: {x-tag: edge, Accept: text/plain}, remove: [x-debug, user-agent]}}", cases{
		{Name: "nothing there", Sent: header{"X-Env": "prod", "X-Tag": "edge", "Accept": "text/plain", "X-Debug": ""}},
		{
			Name: "all there", Request: "GET /\nX-Env: forged\nX-Env: twice\nX-Tag: a\nX-Debug: 1\nX-Debug: 2\nUser-Agent: curl\nX-Other: stays",
			Sent: header{"X-Env": "prod", "X-Tag": "a, edge", "X-Debug": "", "User-Agent": "", "X-Other": "stays"},
			Check: func(t testing.TB, a middlewaretest.Answer) {
				if got := a.Sent.Header["X-Tag"]; len(got) != 2 {
					t.Errorf("X-Tag is %q, want a line for each value", got)
				}
			},
		},
	})
	middlewaretest.Run(t, env, "headers: {request: {remove: [x-tag], add: {x-tag: edge}}}", cases{
		{Name: "removed, then added", Request: "GET /\nX-Tag: a", Sent: header{"X-Tag": "edge"}},
	})
	middlewaretest.Run(t, env, "headers: {request: {set: {x-tag: one}, add: {x-tag: two}}}", cases{
		{Name: "set, then added", Request: "GET /\nX-Tag: a", Sent: header{"X-Tag": "one, two"}},
	})
	middlewaretest.Run(t, env, "headers: {request: {set: {x-env: prod}}}", cases{
		{Name: "the answer is left alone", Header: header{"X-Env": ""}},
	})
}

// To see these fail, say r.Header.Set in headerEdits.upstream.
func TestHeadersAreNotTheClients(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "headers: {request: {set: {x-env: prod}, add: {x-tag: edge}}}")
	f := func(row, connection string) {
		t.Run(row, func(t *testing.T) {
			r := middlewaretest.Request(t, "GET /\nX-Env: forged\nConnection: "+connection)
			a := middlewaretest.Send(t, env, step, r, &gateway.Exchange{})
			if r.Header.Get("X-Env") != "forged" || r.Header.Get("X-Tag") != "" {
				t.Errorf("the inbound request was changed, where Connection can take it back: %v", r.Header)
			}
			if a.Sent.Header.Get("X-Env") != "prod" || a.Sent.Header.Get("X-Tag") != "edge" {
				t.Errorf("upstream got %v", a.Sent.Header)
			}
		})
	}
	f("I01", "X-Env, X-Tag, X-Forwarded-For")
	f("I02", "X-Env")
	f("I02 in another case", "x-eNV")
}

const answerEdits = "headers: {response: {set: {x-frame-options: DENY}, add: {vary: Accept-Language}, remove: [server, X-Powered-By]}}"

func TestHeadersOfAnswers(t *testing.T) {
	edited := header{"X-Frame-Options": "DENY", "Vary": "Accept-Language", "Server": "", "X-Powered-By": ""}
	env, cluster := orders(t)
	cluster.Handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "nginx")
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		w.Header().Set("X-Other", "stays")
		if r.URL.Path == "/vary" {
			w.Header().Set("Vary", "Accept")
		}
	})
	middlewaretest.Run(t, env, answerEdits, cases{
		{Name: "the upstream's", Request: "GET /\nServer: x", Header: edited, Sent: header{"Server": "x", "X-Frame-Options": ""}},
		{Name: "others stay", Request: "GET /vary", Header: header{"Vary": "Accept, Accept-Language", "X-Other": "stays"}},
	})
	cluster.Break(&gateway.Error{Status: 503, Reason: "down", Cause: gateway.CauseNetwork, RetryAfter: 1})
	middlewaretest.Run(t, env, answerEdits, cases{
		{Name: "the gateway's own", Status: 503, Reason: "down", To: "orders", Header: edited},
	})
	cluster.Break(errors.New("no type"))
	middlewaretest.Run(t, env, "headers: {response: {remove: [cache-control]}}", cases{
		{Name: "removed from the gateway's own", Status: 500, Reason: "internal", To: "orders", Header: header{"Cache-Control": "", "X-Content-Type-Options": "nosniff"}},
	})
}

// headRecorder is a writer that remembers the header named X-A at each step.
type headRecorder struct {
	recorder
}

func (w *headRecorder) WriteHeader(status int) {
	w.saw = append(w.saw, http.StatusText(status)+": "+strings.Join(w.h["X-A"], " "))
}

func (w *headRecorder) Write(p []byte) (int, error) {
	w.saw = append(w.saw, "write: "+strings.Join(w.h["X-A"], " "))
	return len(p), nil
}

func (w *headRecorder) Flush() { w.saw = append(w.saw, "flush: "+strings.Join(w.h["X-A"], " ")) }

// Whatever a handler does first sends the head, and that has the edits. Nothing
// before or after it does.
func TestHeadersOfTheHeadOnly(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "headers: {response: {add: {x-a: edge}}}")
	f := func(name string, h http.HandlerFunc, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			w := &headRecorder{recorder{h: http.Header{}}}
			step.Wrap(h).ServeHTTP(w, gateway.WithExchange(middlewaretest.Request(t, "GET /"), &gateway.Exchange{}))
			if diff := cmp.Diff(append(want, "edge"), append(w.saw, strings.Join(w.h["X-A"], " "))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	f("hints first", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(nil)
	}, "Early Hints: ", "OK: edge", "write: edge")
	f("a body first", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(nil)
		_, _ = w.Write(nil)
	}, "write: edge", "write: edge")
	f("a flush first", func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}, "flush: edge")
	f("nothing", func(http.ResponseWriter, *http.Request) {})
	t.Run("a list that others share", func(t *testing.T) {
		shared := append(make([]string, 0, 8), "theirs")
		w := &headRecorder{recorder{h: http.Header{"X-A": shared}}}
		step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).
			ServeHTTP(w, gateway.WithExchange(middlewaretest.Request(t, "GET /"), &gateway.Exchange{}))
		if strings.Join(w.h["X-A"], " ") != "theirs edge" || shared[:2][1] != "" {
			t.Errorf("the answer has %q, the others %q", w.h["X-A"], shared[:2])
		}
	})
	t.Run("trailers", func(t *testing.T) {
		w := &headRecorder{recorder{h: http.Header{}}}
		step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.Header().Set("X-A", "trailer")
		})).ServeHTTP(w, gateway.WithExchange(middlewaretest.Request(t, "GET /"), &gateway.Exchange{}))
		if got := w.h.Get("X-A"); got != "trailer" {
			t.Errorf("the trailer became %q", got)
		}
	})
}

// Messages share the lists of the settings, which nobody may write to.
func TestHeadersTogether(t *testing.T) {
	env, cluster := orders(t)
	cluster.Handle(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-A", r.Header.Get("X-N")) })
	step := middlewaretest.Build(t, env, "headers: {request: {add: {x-b: edge}}, response: {set: {x-c: one}, add: {x-a: edge, x-c: two}}}")
	var wg sync.WaitGroup
	for n := range strings.FieldsSeq("1 2 3 4 5 6 7 8") {
		wg.Go(func() {
			a := send(t, env, step, "GET /\nX-N: "+n+"\nX-B: "+n, &gateway.Exchange{})
			got := []string{strings.Join(a.Header["X-A"], " "), strings.Join(a.Header["X-C"], " "), strings.Join(a.Sent.Header["X-B"], " ")}
			if diff := cmp.Diff([]string{n + " edge", "one two", n + " edge"}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	wg.Wait()
}

func TestHeadersExplain(t *testing.T) {
	env, _ := orders(t)
	f := func(settings, want string) {
		t.Helper()
		step := middlewaretest.Build(t, env, "headers: {"+settings+"}")
		if got := step.Explain(middlewaretest.Request(t, "GET /"), &gateway.Exchange{}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f("request: {set: {authorization: Bearer hunter2}}", "request: set Authorization")
	f("response: {add: {x-b: b, x-a: a}, remove: [x-c], set: {x-d: d}}", "response: remove X-C, set X-D, add X-A, add X-B")
	f("request: {remove: [x-c]}, response: {remove: [x-c]}", "request: remove X-C; response: remove X-C")
}

func TestHeadersMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(settings string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "headers:\n  "+settings+"\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", settings, diff)
		}
	}
	const nothing = "changes nothing; give set, add or remove under request or response"
	f("{}", "1:1: "+nothing)
	f("request: {set: {}}", "1:1: "+nothing)
	const own = " belongs to the connection or frames the message, and is the gateway's own"
	for name := range strings.FieldsSeq("connection Content-Length expect http2-settings Keep-Alive Proxy-Authenticate proxy-authorization " +
		"Proxy-Connection TE Trailer Transfer-Encoding transfer_encoding Content.Length upgrade") {
		f("request: {set: {"+name+": a}}", "2:"+column("request: {set: {"+name+": ")+": "+name+own)
		f("response: {remove: ["+name+"]}", "2:23: "+name+own)
	}
	f("response: {add: {host: a}}", "2:26: Host is no header that can be changed here; use rewrite: {host: ...}")
	f(`request: {set: {"a b": a}, add: {":path": a}, remove: [""]}`,
		`2:26: "a b" is no name of a header`, `2:45: ":path" is no name of a header`, `2:58: "" is no name of a header`)
	f(`response: {set: {x-a: ""}}`, "2:25: has no value; to take a header away, write it under remove")
	const value = "the value begins or ends with a space, or holds a control character"
	f(`response: {set: {x-a: " a"}}`, "2:25: "+value)
	f(`response: {set: {x-a: "a\r\nX-B: b"}}`, "2:25: "+value)
	f(`request: {add: {x-a: "a\0"}}`, "2:24: "+value)
	f("request: {set: {x-a: a, X-A: b}}", "2:24: x-a stands here a second time")
	f("request: {remove: [x-a, X-A]}", "2:27: X-A stands here a second time")
	f("request: {set: {x-a: a}, remove: [X-A]}", "2:37: X-A is set here too, which replaces all that it had")
	f("request: {set: {x-a: [a]}}", "2:19: request.set.x-a: want text, not a list")
	f("requests: {}", `2:3: unknown key "requests" (did you mean "request"?)`)
}

// column is where what comes after text stands, in a line of settings.
func column(text string) string { return itoa(len("  ") + len(text) + 1) }

func TestHeadersBudget(t *testing.T) {
	f := func(name, settings string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, pass(t, "headers: {"+settings+"}", "GET /\nX-A: a")); n != want {
				t.Errorf("%v allocations, want %v: %s", n, want, what)
			}
		})
	}
	f("request set", "request: {set: {x-a: b}}", 3, "the map of what to set, its first group, and a list")
	f("request remove", "request: {remove: [x-a]}", 1, "the list of what not to send upstream")
	f("answer set and removed", "response: {set: {x-a: b}, remove: [x-b]}", 1, "the writer")
	f("answer added", "response: {add: {x-a: b}}", 2, "the writer and the list")
}
