package middleware_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pithead/pithead/gateway/demo"
	"github.com/pithead/pithead/gateway/transcode"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestGRPCTranscodeWebSocket(t *testing.T) {
	base, ended := shopGateway(t, documented(t, ", max_message: 1KiB"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	dial := func(t *testing.T, path, origin string) (*websocket.Conn, *http.Response, error) {
		t.Helper()
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		conn, res, err := websocket.Dial(ctx, base+path, &websocket.DialOptions{HTTPHeader: h})
		if err == nil {
			t.Cleanup(func() { _ = conn.CloseNow() })
		}
		return conn, res, err
	}
	send := func(t *testing.T, conn *websocket.Conn, text string) {
		t.Helper()
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("both ways, ended by an empty message", func(t *testing.T) {
		conn, _, err := dial(t, "/shop/v1/support", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"a", "b"} {
			send(t, conn, `{"text":"`+text+`"}`)
			if _, got, err := conn.Read(ctx); string(got) != `{"text":"you said: `+text+`"}` || err != nil {
				t.Errorf("%s, %v", got, err)
			}
		}
		send(t, conn, "")
		if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Error(err)
		}
		if x := <-ended; x.Err != nil {
			t.Error(x.Err)
		}
	})
	t.Run("a message that is none", func(t *testing.T) {
		conn, _, err := dial(t, "/shop/v1/support", "")
		if err != nil {
			t.Fatal(err)
		}
		send(t, conn, `{"nothing":1}`)
		if _, got, err := conn.Read(ctx); !strings.Contains(string(got), `{"error":{"type":"about:blank","title":"Bad Request","status":400`) || err != nil {
			t.Errorf("%s, %v", got, err)
		}
		if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != 4003 {
			t.Error(err)
		}
		if x := <-ended; x.Err == nil || x.Err.Reason != "transcode_body" {
			t.Error(x.Err)
		}
	})
	t.Run("a client that leaves", func(t *testing.T) {
		conn, _, err := dial(t, "/shop/v1/support", "")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.CloseNow()
		if x := <-ended; x.Err == nil || x.Err.Status != 499 {
			t.Error(x.Err)
		}
	})
	t.Run("a stream of the service", func(t *testing.T) {
		conn, _, err := dial(t, "/shop/v1/orders/7/events?events=1", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); string(got) != `{"number":1,"text":"order 7 was looked at"}` || err != nil {
			t.Errorf("%s, %v", got, err)
		}
		if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Error(err)
		}
		<-ended
	})
	for name, tt := range map[string]struct {
		path, origin string
		status       int
	}{
		"another origin": {"/shop/v1/support", "https://evil.example", 403},
		"no stream":      {"/shop/v1/orders/7", "", 400},
	} {
		t.Run(name, func(t *testing.T) {
			_, res, err := dial(t, tt.path, tt.origin)
			if err == nil || res == nil || res.StatusCode != tt.status || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%v, %v", res, err)
			}
			<-ended
		})
	}
}

// Descriptors by reflection: 503 before the first answer, then annotations bind.
func TestGRPCTranscodeReflection(t *testing.T) {
	base, _ := shopGateway(t, "descriptors: {reflection: true}, base_path: /a")
	if got := call(t, base, "GET /a/orders/7", ""); got.status != 200 || !strings.HasPrefix(got.body, `{"id":"7"`) {
		t.Error(got.status, got.body)
	}
	got := call(t, base, "POST /a/support\nContent-Type: application/x-ndjson", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n")
	if got.body != `{"text":"you said: a"}`+"\n"+`{"text":"you said: b"}`+"\n" {
		t.Error(got.status, got.body)
	}
	t.Run("before the first answer", func(t *testing.T) {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		env.To = newGRPCCluster(t, "127.0.0.1:1")
		middlewaretest.Run(t, env, "grpc_transcode: {descriptors: {reflection: true}}", []middlewaretest.Case{
			{Name: "not there yet", Request: "GET /orders/7", Status: 503, Reason: "grpc_descriptors", Header: map[string]string{"Retry-After": "1"}},
		})
	})
	t.Run("v1alpha only", func(t *testing.T) {
		s, err := demo.StartOrders("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Stop() })
		old := oldReflection{newGRPCCluster(t, s.Addr)}
		schema, err := transcode.Reflect(t.Context(), old, nil)
		if err != nil || len(schema.Services()) != 1 {
			t.Error(schema, err)
		}
	})
	t.Run("no reflection", func(t *testing.T) {
		addr := hostileGRPC(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Grpc-Status", "12") })
		if _, err := transcode.Reflect(t.Context(), newGRPCCluster(t, addr), nil); err == nil || !strings.Contains(err.Error(), "v1alpha") {
			t.Error(err)
		}
	})
	t.Run("endless descriptors", func(t *testing.T) {
		addr := hostileGRPC(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 2000 {
				if _, err := w.Write([]byte(frame(0, "\x0a\x80\x80\x01"+strings.Repeat("x", 16<<10)))); err != nil {
					return
				}
			}
		})
		if _, err := transcode.Reflect(t.Context(), newGRPCCluster(t, addr), nil); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Error(err)
		}
	})
}

// oldReflection is a server that has not heard of the newer version.
type oldReflection struct{ *grpcCluster }

// RoundTrip implements http.RoundTripper.
func (c oldReflection) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/grpc.reflection.v1.") {
		return &http.Response{StatusCode: 200, Header: http.Header{"Grpc-Status": {"12"}}, Body: io.NopCloser(strings.NewReader(""))}, nil
	}
	return c.grpcCluster.RoundTrip(r)
}

// What calls already are gRPC passes without a change, and what the configuration
// cannot mean is told.
func TestGRPCTranscodePassesGRPC(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	step := middlewaretest.Build(t, env, "grpc_transcode: {"+documented(t, "")+"}")
	seen := false
	h := step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.URL.Path == "/orders.v1.Orders/GetOrder" && r.Header.Get("X-A") == "1"
	}))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/orders.v1.Orders/GetOrder", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.ProtoMajor, r.Header = 2, http.Header{"Content-Type": {"application/grpc"}, "X-A": {"1"}}
	h.ServeHTTP(nil, r)
	if !seen {
		t.Error("the call was changed")
	}
}
