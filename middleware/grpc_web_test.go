package middleware_test

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	_ "google.golang.org/grpc/encoding/gzip" // for the service
	"google.golang.org/protobuf/proto"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/demo"
	"github.com/pithead/pithead/gateway/demo/ordersv1"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const rpc = "POST /orders.v1.Orders/"

// browserGateway is a gateway with one block before the demo's service.
func browserGateway(t testing.TB, block string) string {
	t.Helper()
	s, err := demo.StartOrders("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	base, _ := gatewayOf(t, s.Addr, block)
	return base
}

func wireOf(t testing.TB, m proto.Message) string {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type wireFrame struct {
	flags   byte
	message string
}

// framesOf takes a body apart.
func framesOf(t testing.TB, body string) (frames []wireFrame) {
	t.Helper()
	for body != "" {
		if len(body) < 5 {
			t.Fatalf("%d bytes of a head", len(body))
		}
		n := int(binary.BigEndian.Uint32([]byte(body[1:5])))
		if len(body) < 5+n {
			t.Fatalf("%d of %d bytes of a frame", len(body)-5, n)
		}
		frames = append(frames, wireFrame{body[0], body[5 : 5+n]})
		body = body[5+n:]
	}
	return frames
}

// piecewise decodes pieces of base64, each padded or not.
func piecewise(t testing.TB, text string) string {
	t.Helper()
	var out strings.Builder
	for ; text != ""; text = text[4:] {
		b, err := base64.StdEncoding.DecodeString(text[:4])
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	return out.String()
}

func TestGRPCWeb(t *testing.T) {
	base := browserGateway(t, "grpc_web: {max_message: 1KiB}")
	get := frame(0, wireOf(t, &ordersv1.GetOrderRequest{Id: "7"}))
	made := frame(0, wireOf(t, &ordersv1.CreateOrderRequest{Order: &ordersv1.Order{Customer: "bob"}}))
	watch := frame(0, wireOf(t, &ordersv1.WatchOrderRequest{Id: "7", Events: 3}))
	tests := []struct {
		name, head, body, accept string
		messages                 int
		block                    string // the beginning of the trailers
		text                     bool   // of the answer
	}{
		{name: "one message", head: rpc + "GetOrder\nContent-Type: application/grpc-web+proto", body: get, messages: 1, block: "grpc-status: 0\r\n"},
		{name: "without a codec", head: rpc + "GetOrder\nContent-Type: application/grpc-web", body: get, messages: 1, block: "grpc-status: 0\r\n"},
		{name: "a stream", head: rpc + "WatchOrder\nContent-Type: application/grpc-web", body: watch, messages: 3, block: "grpc-status: 0\r\n"},
		{name: "text", head: rpc + "GetOrder\nContent-Type: application/grpc-web-text", body: base64.StdEncoding.EncodeToString([]byte(get)), messages: 1, block: "grpc-status: 0\r\n", text: true},
		{name: "a stream as text", head: rpc + "WatchOrder\nContent-Type: application/grpc-web-text+proto", body: base64.StdEncoding.EncodeToString([]byte(watch)), messages: 3, block: "grpc-status: 0\r\n", text: true},
		{name: "binary in, text out", head: rpc + "GetOrder\nContent-Type: application/grpc-web\nAccept: application/grpc-web-text", body: get, messages: 1, block: "grpc-status: 0\r\n", text: true},
		{name: "a client's stream", head: rpc + "ImportOrders\nContent-Type: application/grpc-web", body: made + made, messages: 1, block: "grpc-status: 0\r\n"},
		{name: "an error", head: rpc + "GetOrder\nContent-Type: application/grpc-web", body: frame(0, "\x0a\x01x"), block: "grpc-status: 5\r\ngrpc-message: there is no order \"x\"\r\ngrpc-status-details-bin: "},
		{name: "no such method", head: rpc + "Nothing\nContent-Type: application/grpc-web", body: get, block: "grpc-status: 12\r\n"},
		{name: "too large", head: rpc + "GetOrder\nContent-Type: application/grpc-web", body: frame(0, strings.Repeat("x", 1025)), block: "grpc-status: 8\r\n"},
		{name: "cut", head: rpc + "GetOrder\nContent-Type: application/grpc-web", body: get[:6], block: "grpc-status: 3\r\n"},
		{name: "odd flags", head: rpc + "GetOrder\nContent-Type: application/grpc-web", body: frame(0x80, ""), block: "grpc-status: 3\r\n"},
		{name: "bad text", head: rpc + "GetOrder\nContent-Type: application/grpc-web-text", body: "AAA", block: "grpc-status: 3\r\n", text: true},
		{name: "B18 a compressed body", head: rpc + "GetOrder\nContent-Type: application/grpc-web\nContent-Encoding: gzip", body: get, block: "grpc-status: 12\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := call(t, base, tt.head, tt.body)
			body, want := a.body, "application/grpc-web"
			if tt.text {
				body, want = piecewise(t, a.body), "application/grpc-web-text"
			}
			frames := framesOf(t, body)
			last := frames[len(frames)-1]
			if a.status != 200 || len(frames)-1 != tt.messages || last.flags != 0x80 || !strings.HasPrefix(last.message, tt.block) {
				t.Errorf("%d: %d messages, then %x %q", a.status, len(frames)-1, last.flags, last.message)
			}
			if ct := a.header.Get("Content-Type"); strings.TrimSuffix(ct, "+proto") != want || a.header.Get("Grpc-Status") != "" {
				t.Errorf("content type %q, header %v", ct, a.header)
			}
		})
	}
}

// What is no gRPC-Web goes on as it came.
func TestGRPCWebPasses(t *testing.T) {
	to := middlewaretest.NewCluster("orders")
	env := middlewaretest.Env(t, to)
	step := middlewaretest.Build(t, env, "grpc_web: {}")
	for _, ct := range []string{"", "application/json", "application/grpc", "application/grpc-webs", "application/grpc-web+", "application/grpc-web-texts"} {
		middlewaretest.Send(t, env, step, middlewaretest.Request(t, "POST /a.B/C\nContent-Type: "+ct), &gateway.Exchange{})
		if got, _ := to.Last(); got == nil || got.Header.Get("Content-Type") != ct || got.Header.Get("Te") != "" {
			t.Errorf("%q did not pass", ct)
		}
	}
}

// Clients of Connect end their request when they see the head of an answer, and
// then lose the rest of it: while they send a message, an answer does not begin
// with a head alone.
func TestGRPCWebHeadWaitsForTheMessage(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	step := middlewaretest.Build(t, env, "grpc_web: {}")
	for name, whole := range map[string]bool{"sending": false, "sent": true} {
		t.Run(name, func(t *testing.T) {
			client := httptest.NewRecorder()
			r := middlewaretest.Request(t, "POST /a.B/C\nContent-Type: application/grpc-web")
			message := frame(0, strings.Repeat("x", 100<<10))
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(message)), int64(len(message))
			step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if whole {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				w.Header().Set("Content-Type", "application/grpc")
				_ = http.NewResponseController(w).Flush()
				if client.Flushed != whole {
					t.Error("head flushed:", client.Flushed)
				}
				_, _ = io.WriteString(w, frame(0, "answer"))
				_ = http.NewResponseController(w).Flush()
				if !client.Flushed {
					t.Error("the message is not flushed")
				}
			})).ServeHTTP(client, gateway.WithExchange(r, &gateway.Exchange{}))
		})
	}
}

// Answers that no gRPC service gives still end in a status.
func TestGRPCWebMalformedAnswers(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
		block  string
	}{
		{"B20 no status", func(w http.ResponseWriter, _ *http.Request) { writeNow(w, frame(0, "a")) }, "grpc-status: 13\r\n"},
		{"B20 nothing but a head", func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Grpc-Status"], w.Header()["X-Left"] = []string{"5"}, []string{"3"}
		}, "grpc-status: 5\r\nx-left: 3\r\n"},
		{"plain HTTP", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "grpc-status: 12\r\n"},
		{"another media type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			writeNow(w, "<html>")
		}, "grpc-status: 13\r\n"},
		{"B19 4 GiB", func(w http.ResponseWriter, _ *http.Request) { writeNow(w, "\x00\xff\xff\xff\xff") }, "grpc-status: 8\r\n"},
		{"B19 compressed without an encoding", func(w http.ResponseWriter, _ *http.Request) { writeNow(w, frame(1, "a")) }, "grpc-status: 13\r\n"},
		{"cut within a message", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status")
			writeNow(w, frame(0, "abc")[:6])
			w.Header().Set("Grpc-Status", "0")
		}, "grpc-status: 13\r\n"},
		{"broken off", func(w http.ResponseWriter, _ *http.Request) {
			writeNow(w, frame(0, "abc"))
			panic(http.ErrAbortHandler)
		}, "grpc-status: 14\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, _ := gatewayOf(t, hostileGRPC(t, tt.answer), "grpc_web: {}")
			a := call(t, base, "POST /a.B/C\nContent-Type: application/grpc-web", frame(0, ""))
			i := strings.Index(a.body, "\x80")
			if i < 0 || !strings.HasPrefix(a.body[i+5:], tt.block) || a.status != 200 {
				t.Errorf("%d %q %v", a.status, a.body, a.err)
			}
		})
	}
}

func writeNow(w io.Writer, s string) {
	_, _ = io.WriteString(w, s) // a gateway that has heard enough
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// Whatever is large is never kept: a stream of a hundred megabytes passes through
// less than four above idle.
func TestGRPCWebStreamMemory(t *testing.T) {
	const messages, size = 1600, 64 << 10
	message := frame(0, strings.Repeat("x", size))
	base, _ := gatewayOf(t, hostileGRPC(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		for range messages {
			if _, err := io.WriteString(w, message); err != nil {
				return
			}
		}
		w.Header().Set("Grpc-Status", "0")
	}), "grpc_web: {}")
	for _, form := range []string{"application/grpc-web", "application/grpc-web-text"} {
		t.Run(form, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/a.B/C", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", form)
			if read, above := readMeasured(t, r); read < messages*size || above > 4<<20 {
				t.Errorf("%d bytes came, with %d KiB above idle at most", read, above>>10)
			}
		})
	}
}

// readMeasured reads an answer, and says how far the heap went above what it was.
func readMeasured(t *testing.T, r *http.Request) (read, above int) {
	t.Helper()
	var stats runtime.MemStats
	heap := func() int {
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int(stats.HeapAlloc)
	}
	idle := heap()
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buf := make([]byte, 64<<10)
	for next := 10 << 20; err == nil; {
		var n int
		n, err = res.Body.Read(buf)
		if read += n; read > next {
			next += 10 << 20
			above = max(above, heap()-idle)
		}
	}
	return read, above
}
