package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func fail(r *http.Request, err error) (*Exchange, *http.Response) {
	x := &Exchange{ID: "r-1"}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Encoding", "gzip") // from a chain that got further
	Fail(w, WithExchange(r, x), err)
	return x, w.Result()
}

func TestFailWritesProblem(t *testing.T) {
	cause := errors.New("dial tcp 10.1.2.3:9000: connection refused")
	x, answer := fail(httptest.NewRequest(http.MethodGet, "/", nil), fmt.Errorf("attempt: %w", &Error{
		Status: 503, Reason: "connect_failed", Msg: "the service is not reachable", Cause: CauseNetwork,
		Err: cause, RetryAfter: 1500 * time.Millisecond, Close: true,
	}))
	body, _ := io.ReadAll(answer.Body)
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "about:blank", "title": "Service Unavailable", "status": 503.0,
		"detail": "the service is not reachable", "reason": "connect_failed", "request_id": "r-1",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || answer.StatusCode != 503 {
		t.Errorf("%d %v, want %v", answer.StatusCode, got, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/problem+json", "Cache-Control": "no-store", "Retry-After": "2",
		"Connection": "close", "Content-Encoding": "", "X-Content-Type-Options": "nosniff",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if strings.Contains(string(body), "10.1.2.3") {
		t.Error("the answer tells an internal address")
	}
	if !errors.Is(x.Err, cause) || x.Err.Cause.String() != "network" {
		t.Errorf("exchange has %v", x.Err)
	}
}

func TestFailHidesUntypedErrors(t *testing.T) {
	x, answer := fail(httptest.NewRequest(http.MethodHead, "/", nil), errors.New("password is hunter2"))
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != 500 || len(body) > 0 || x.Err.Reason != "internal" {
		t.Errorf("%d %q %v", answer.StatusCode, body, x.Err)
	}
}

func TestFailWritesNothingToAClientThatLeft(t *testing.T) {
	w := httptest.NewRecorder()
	x := &Exchange{}
	Fail(w, WithExchange(httptest.NewRequest(http.MethodGet, "/", nil), x), &Error{Status: StatusClientClosed, Cause: CauseClient})
	if x.Status != 499 || w.Body.Len() > 0 || w.Flushed {
		t.Errorf("status %d, body %q", x.Status, w.Body)
	}
}

func TestFailAnswersGRPC(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/orders.v1.Orders/Get", nil)
	r.ProtoMajor = 2
	for ct, grpc := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc;v=1": true, "application/grpc-web": false,
	} {
		r.Header.Set("Content-Type", ct)
		_, answer := fail(r, &Error{Status: 504, Reason: "timeout", Msg: "too slow: 100 %"})
		switch {
		case grpc && (answer.StatusCode != 200 || answer.Header.Get("Grpc-Status") != "4" || answer.Header.Get("Grpc-Message") != "too slow%3A 100 %25"):
			t.Errorf("%s: %d %v", ct, answer.StatusCode, answer.Header)
		case !grpc && answer.StatusCode != 504:
			t.Errorf("%s: %d", ct, answer.StatusCode)
		}
	}
}

func TestFailAnswersGRPCWithAStatusOfItsOwn(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/orders.v1.Orders/Get", nil)
	r.ProtoMajor = 2
	r.Header.Set("Content-Type", "application/grpc")
	for status, e := range map[string]*Error{"14": {Status: 429}, "8": {Status: 429, GRPC: 8}} {
		if _, answer := fail(r, e); answer.Header.Get("Grpc-Status") != status {
			t.Errorf("%+v: %v, want %s", e, answer.Header, status)
		}
	}
}

func TestExchange(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if ExchangeOf(r) == nil {
		t.Error("a request without an exchange gets nil")
	}
	x := &Exchange{}
	r = WithExchange(r, x)
	if ExchangeOf(r) != x || ExchangeOf(r.WithContext(t.Context())) == x {
		t.Error("the exchange does not follow its request")
	}
	first := errors.New("first")
	x.ClientFailed(first)
	x.ClientFailed(errors.New("second"))
	if !errors.Is(x.ClientError(), first) {
		t.Errorf("client error %v", x.ClientError())
	}
}

// Changes of the headers that go upstream are those of a chain that runs from
// top to bottom.
func TestUpstreamHeaders(t *testing.T) {
	drop := func(x *Exchange) { x.DropUpstreamHeader("x-a") }
	set := func(value string) func(*Exchange) { return func(x *Exchange) { x.SetUpstreamHeader("x-a", value) } }
	add := func(value string) func(*Exchange) { return func(x *Exchange) { x.AddUpstreamHeader("x-a", value) } }
	f := func(want string, changes ...func(*Exchange)) {
		t.Helper()
		x := &Exchange{}
		for _, change := range changes {
			change(x)
		}
		sent := append(make([]string, 0, 8), "client") // room that somebody else may share
		h := http.Header{"X-A": sent, "Accept": {"*/*"}}
		if x.ApplyUpstreamHeaders(h); fmt.Sprint(h["X-A"]) != want || fmt.Sprint(h["Accept"]) != "[*/*]" {
			t.Errorf("headers %v, want %s", h, want)
		}
		if sent[:2][1] != "" {
			t.Error("the list that was there is written to")
		}
	}
	f("[client]")
	f("[]", drop)
	f("[a]", set("a"))
	f("[client a b]", add("a"), add("b"))
	f("[a]", drop, set("a"))
	f("[a]", drop, add("a"))
	f("[a b]", set("a"), add("b"))
	f("[b]", set("a"), set("b"))
	f("[b]", add("a"), set("b"))
	f("[]", set("a"), add("b"), drop)
	f("[c]", set("a"), add("b"), drop, add("c"))
}

func TestSecretIsNeverShown(t *testing.T) {
	s := Secret("hunter2")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "in", struct{ S Secret }{s})
	asJSON, _ := json.Marshal(map[string]any{"s": s})
	all := fmt.Sprintf("%v %+v %#v %s %q", s, struct{ S Secret }{s}, struct{ S Secret }{s}, s, s) + log.String() + string(asJSON)
	if strings.Contains(all, "hunter2") || s.Reveal() != "hunter2" {
		t.Error(all)
	}
}
