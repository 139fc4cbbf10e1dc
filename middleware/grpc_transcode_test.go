package middleware_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestGRPCTranscodeOperations(t *testing.T) {
	base, _ := shopGateway(t, documented(t, ", headers: {response: [etag]}"))
	const seven = `{"id":"7","customer":"ann","items":[{"article":"hat","quantity":2,"priceCents":"1999"}],"status":"STATUS_OPEN","created":"2026-01-02T03:04:05Z","labels":{"channel":"web"},"address":{"street":"High Street 1","city":"York"}}`
	const events = `{"number":1,"text":"order 7 was looked at"}` + "\n" + `{"number":2,"text":"order 7 was looked at"}` + "\n"
	for _, tt := range []struct {
		name, head, body string
		status           int
		contentType      string
		want             string // begins with, for problems
	}{
		{"get", "GET /shop/v1/orders/7", "", 200, "application/json", seven},
		{"query: repeated, enum by number, map", "GET /shop/v1/orders?page_size=5&status=1&status=STATUS_SHIPPED&labels[channel]=web", "", 200, "application/json", `{"orders":[` + seven + `]}`},
		{"query: nothing fits", "GET /shop/v1/orders?labels[channel]=phone", "", 200, "application/json", `{}`},
		{"create, body by field", "POST /shop/v1/orders", `{"customer":"bob"}`, 200, "application/json", `{"id":"8","customer":"bob","status":"STATUS_OPEN"}`},
		{"patch computes its mask", "PATCH /shop/v1/orders/8", `{"address":{"city":"Leeds"}}`, 200, "application/json", `{"id":"8","customer":"bob","status":"STATUS_OPEN","address":{"city":"Leeds"}}`},
		{"verb, whole body", "POST /shop/v1/orders/8:cancel", `{"reason":"late"}`, 200, "application/json", `{"id":"8","customer":"bob","status":"STATUS_CANCELLED","address":{"city":"Leeds"}}`},
		{"delete", "DELETE /shop/v1/orders/8", "", 200, "application/json", `{}`},
		{"HttpBody", "GET /shop/v1/orders/7/invoice", "", 200, "text/plain; charset=utf-8", "invoice 7 for ann\n2 x hat\n"},
		{"stream as lines", "GET /shop/v1/orders/7/events?events=2", "", 200, "application/x-ndjson", events},
		{"stream as events", "GET /shop/v1/orders/7/events?events=1\nAccept: text/event-stream", "", 200, "text/event-stream", `data: {"number":1,"text":"order 7 was looked at"}` + "\n\n"},
		{"stream as an array", "GET /shop/v1/orders/7/events?events=2\nAccept: application/json", "", 200, "application/json", "[" + strings.ReplaceAll(strings.TrimSpace(events), "\n", ",") + "]"},
		{"stream, refused before it begins", "GET /shop/v1/orders/9/events", "", 404, "application/problem+json", `{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no order \"9\"","code":"NOT_FOUND"`},
		{"client's stream", "POST /shop/v1/orders:import\nContent-Type: application/x-ndjson", "{\"order\":{\"customer\":\"a\"}}\n\n{\"order\":{\"customer\":\"b\"}}", 200, "application/json", `{"imported":2}`},
		{"details of an error", "POST /shop/v1/orders", `{}`, 400, "application/problem+json", `{"type":"about:blank","title":"Bad Request","status":400,"detail":"order.customer is missing","code":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"order.customer","description":"is missing"}]}]`},
		{"no such path", "GET /shop/v1/orders/7/nothing", "", 404, "application/problem+json", `{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no such operation","reason":"transcode_operation"`},
		{"outside the base path", "GET /orders/7", "", 404, "application/problem+json", `{"type":"about:blank"`},
		{"no such method", "PUT /shop/v1/orders/7", "", 405, "application/problem+json", `{"type":"about:blank"`},
		{"escaped slash is data", "GET /shop/v1/orders/a%2Fb", "", 404, "application/problem+json", `{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no order \"a/b\""`},
		{"form", "POST /shop/v1/orders\nContent-Type: application/x-www-form-urlencoded", "customer=bob", 415, "application/problem+json", `{"type":"about:blank"`},
		{"bad line of a client's stream", "POST /shop/v1/orders:import\nContent-Type: application/x-ndjson", "{\"order\":{\"customer\":\"a\"}}\n{\"order\":", 400, "application/problem+json", `{"type":"about:blank"`},
		{"malformed timeout", "GET /shop/v1/orders/7\nGrpc-Timeout: soon", "", 400, "application/problem+json", `{"type":"about:blank"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := call(t, base, tt.head, tt.body)
			if got.status != tt.status || got.header.Get("Content-Type") != tt.contentType || got.err != nil {
				t.Fatalf("%d %s %v: %s", got.status, got.header.Get("Content-Type"), got.err, got.body)
			}
			if got.status == 200 && got.body != tt.want || !strings.HasPrefix(got.body, tt.want) {
				t.Errorf("got %s\nwant %s", got.body, tt.want)
			}
		})
	}
	if got := call(t, base, "GET /shop/v1/orders/7", ""); got.header.Get("Etag") != `"7"` {
		t.Errorf("etag is %q", got.header.Get("Etag"))
	}
	if got := call(t, base, "PUT /shop/v1/orders/7", ""); got.header.Get("Allow") != "DELETE, GET, HEAD, PATCH" {
		t.Errorf("Allow is %q", got.header.Get("Allow"))
	}
}

// Rows of hostile bodies, as a client of the demo's service sees them.
func TestGRPCTranscodeHostileBodies(t *testing.T) {
	base, _ := shopGateway(t, documented(t, ", max_message: 64KiB"))
	long := strings.Repeat("a", 64<<10) // not longer: net/http resets the connection of a client that goes on sending
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for _, tt := range []struct {
		name, head, body string
		status           int
	}{
		{"B01 depth 100", "POST /shop/v1/orders", deep(100), 400},
		{"B02 50,000 brackets", "POST /shop/v1/orders", strings.Repeat("[", 50_000), 400},
		{"B03 duplicate field", "POST /shop/v1/orders", `{"customer":"a","customer":"b"}`, 400},
		{"B03 both names of a field", "POST /shop/v1/orders", `{"items":[{"priceCents":1,"price_cents":2}]}`, 400},
		{"B03 duplicate key of a map", "POST /shop/v1/orders", `{"labels":{"a":"1","a":"2"}}`, 400},
		{"B04 names are case-sensitive", "POST /shop/v1/orders", `{"CUSTOMER":"a"}`, 400},
		{"B05 NaN token", "POST /shop/v1/orders", `{"items":[{"quantity":NaN}]}`, 400},
		{"B05 NaN as a string is no integer", "POST /shop/v1/orders", `{"items":[{"quantity":"NaN"}]}`, 400},
		{"B06 number out of range", "POST /shop/v1/orders", `{"items":[{"quantity":1e400}]}`, 400},
		{"B08 int64 overflow", "POST /shop/v1/orders", `{"items":[{"priceCents":9223372036854775808}]}`, 400},
		{"B09 integers in another notation", "POST /shop/v1/orders", `{"customer":"a","items":[{"quantity":1e2}]}`, 200},
		{"B10 invalid UTF-8", "POST /shop/v1/orders", "{\"customer\":\"\xff\"}", 400},
		{"B10 byte order mark", "POST /shop/v1/orders", "\ufeff{}", 400},
		{"B11 two documents", "POST /shop/v1/orders", `{"customer":"a"}{}`, 400},
		{"B12 unknown field", "POST /shop/v1/orders", `{"customer":"a","admin":true}`, 400},
		{"B13 unknown name of an enum", "POST /shop/v1/orders", `{"customer":"a","status":"NO"}`, 400},
		{"B13 unknown number of an enum goes to the service", "POST /shop/v1/orders", `{"customer":"a","status":999}`, 200},
		{"B13 number that no enum can hold", "POST /shop/v1/orders", `{"customer":"a","status":2147483648}`, 400},
		{"B14 null in a list", "POST /shop/v1/orders", `{"customer":"a","items":[null]}`, 400},
		{"B15 truncated", "POST /shop/v1/orders", `{"customer":`, 400},
		{"B16 path and body contradict", "PATCH /shop/v1/orders/7", `{"id":"9","customer":"x"}`, 400},
		{"B16 path and body agree", "PATCH /shop/v1/orders/7", `{"id":"7","customer":"x"}`, 200},
		{"B17 deep query", "GET /shop/v1/orders?" + strings.Repeat("a.", 1000) + "a=1", "", 400},
		{"B17 many parameters", "GET /shop/v1/orders?" + strings.Repeat("status=1&", 1001) + "status=1", "", 400},
		{"unknown query", "GET /shop/v1/orders?admin=1", "", 400},
		{"B18 compressed body", "POST /shop/v1/orders\nContent-Encoding: gzip", "x", 415},
		{"B24 oversized body", "POST /shop/v1/orders", `{"customer":"` + long + `"}`, 413},
		{"B25 multipart", "POST /shop/v1/orders\nContent-Type: multipart/form-data; boundary=a", "--a--", 415},
		{"oversized line", "POST /shop/v1/orders:import", `{"order":{"customer":"` + long + `"}}`, 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := call(t, base, tt.head, tt.body)
			if got.status != tt.status {
				t.Errorf("%d: %s", got.status, got.body)
			}
		})
	}
	t.Run("B07 int64 is exact", func(t *testing.T) {
		got := call(t, base, "POST /shop/v1/orders", `{"customer":"a","items":[{"priceCents":9007199254740993}]}`)
		if !strings.Contains(got.body, `"priceCents":"9007199254740993"`) {
			t.Error(got.body)
		}
	})
	t.Run("B12 unknown members are skipped if told", func(t *testing.T) {
		base, _ := shopGateway(t, documented(t, ", discard_unknown: true"))
		if got := call(t, base, "POST /shop/v1/orders?x=1", `{"customer":"a","admin":true}`); got.status != 200 {
			t.Error(got.status, got.body)
		}
	})
}

// What services that are broken or hostile may send.
func TestGRPCTranscodeHostileAnswers(t *testing.T) {
	order := "\x0a\x017"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(order))
	_ = z.Close()
	trailer := func(w http.ResponseWriter, status string) { w.Header().Set(http.TrailerPrefix+"Grpc-Status", status) }
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		status int
		body   string // part of the answer
		reason string
	}{
		{"whole", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(frame(0, order)))
			trailer(w, "0")
		}, 200, `{"id":"7"}`, ""},
		{"B19 4 GiB frame", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("\x00\xff\xff\xff\xff"))
			trailer(w, "0")
		}, 502, "too large", "grpc_too_large"},
		{"B19 compressed without an encoding", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(frame(1, order)))
			trailer(w, "0")
		}, 502, "", "grpc_malformed"},
		{"B19 gzip although identity was asked", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Grpc-Encoding", "gzip")
			w.Write([]byte(frame(1, zipped.String())))
			trailer(w, "0")
		}, 200, `{"id":"7"}`, ""},
		{"B19 split frame", func(w http.ResponseWriter, _ *http.Request) {
			for _, b := range []byte(frame(0, order)) {
				w.Write([]byte{b})
				_ = http.NewResponseController(w).Flush()
			}
			trailer(w, "0")
		}, 200, `{"id":"7"}`, ""},
		{"B19 ends within a frame", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(frame(0, order)[:6]))
			trailer(w, "0")
		}, 502, "", "grpc_malformed"},
		{"two messages", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(frame(0, order) + frame(0, order)))
			trailer(w, "0")
		}, 502, "", "grpc_malformed"},
		{"no message", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Grpc-Status", "0") }, 502, "", "grpc_malformed"},
		{"malformed message", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(frame(0, "\x0a\xff")))
			trailer(w, "0")
		}, 502, "", "grpc_malformed"},
		{"B20 trailers only", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Grpc-Status", "8")
			w.Header().Set("Grpc-Message", "slow%20down %zz %E2%82%AC %ff")
		}, 429, `"detail":"slow down %zz € ` + "\uFFFD" + `","code":"RESOURCE_EXHAUSTED"`, ""},
		{"B20 no trailers", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(frame(0, order))) }, 502, "", "grpc_malformed"},
		{"B20 a status that is no number", func(w http.ResponseWriter, _ *http.Request) { trailer(w, "fine"); w.Write([]byte(frame(0, order))) }, 502, "", "grpc_malformed"},
		{"B20 not gRPC", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte("<p>"))
		}, 502, "", "grpc_malformed"},
		{"B20 HTTP status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 503, `"code":"UNAVAILABLE"`, ""},
		{"retry info", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Grpc-Status", "14")
			w.Header().Set("Grpc-Status-Details-Bin", retryLater(t))
		}, 503, `"detail":"later","code":"UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"}]`, ""},
		{"reset", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, "", "upstream_failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, ended := gatewayOf(t, hostileGRPC(t, tt.answer), "grpc_transcode: {"+documented(t, "")+"}")
			got := call(t, base, "GET /shop/v1/orders/7", "")
			if got.status != tt.status || !strings.Contains(got.body, tt.body) {
				t.Errorf("%d: %s", got.status, got.body)
			}
			reason := ""
			if x := <-ended; x.Err != nil {
				reason = x.Err.Reason
			}
			if reason != tt.reason {
				t.Errorf("reason %q, want %q", reason, tt.reason)
			}
			if tt.name == "retry info" && got.header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
			}
		})
	}
}

// retryLater is a google.rpc.Status with a RetryInfo of 1.5 s.
func retryLater(t *testing.T) string {
	t.Helper()
	st, err := status.New(codes.Unavailable, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(st.Proto())
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawStdEncoding.EncodeToString(raw)
}

// An error within a stream is its last line, and the stream is broken off.
func TestGRPCTranscodeStreamError(t *testing.T) {
	addr := hostileGRPC(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(frame(0, "\x08\x01")))
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "10")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "enough")
	})
	base, ended := gatewayOf(t, addr, "grpc_transcode: {"+documented(t, "")+"}")
	const problem = `{"error":{"type":"about:blank","title":"Conflict","status":409,"detail":"enough","code":"ABORTED"}}`
	for accept, want := range map[string]string{
		"application/x-ndjson": `{"number":1}` + "\n" + problem + "\n",
		"text/event-stream":    `data: {"number":1}` + "\n\nevent: error\ndata: " + problem[len(`{"error":`):len(problem)-1] + "\n\n",
		"application/json":     `[{"number":1},` + problem,
	} {
		got := call(t, base, "GET /shop/v1/orders/7/events\nAccept: "+accept, "")
		if got.body != want || got.err == nil {
			t.Errorf("%s: %q, %v", accept, got.body, got.err)
		}
		if x := <-ended; x.Err == nil || x.Err.Reason != "grpc_status" {
			t.Errorf("%s: %v", accept, x.Err)
		}
	}
}

func TestGRPCTranscodeHeaders(t *testing.T) {
	var seen http.Header
	addr := hostileGRPC(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		w.Header()["X-Plain"] = []string{"a"}
		w.Header()["X-Data-Bin"] = []string{"not base64!"} // B21
		w.Header()["X-Good-Bin"] = []string{"AAE"}
		w.Write([]byte(frame(0, "")))
		w.Header().Set(http.TrailerPrefix+"X-Late", "z")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	})
	base, _ := gatewayOf(t, addr, "grpc_transcode: {"+documented(t, ", subject: x-caller, metadata: {request: [x-tenant, x-raw-bin]}")+"}")
	got := call(t, base, "GET /shop/v1/orders/7\nGrpc-Metadata-X-Tenant: t1\nGrpc-Metadata-X-Admin: yes\nGrpc-Metadata-X-Raw-Bin: %%\nGrpc-Timeout: 5S\n"+
		"X-Test-Subject: ann\nX-Caller: mallory\nAccept-Language: de\nAccept: application/json", "")
	if got.status != 200 || got.body != "{}" {
		t.Fatal(got.status, got.body)
	}
	want := map[string]string{
		"X-Tenant": "t1", "X-Admin": "", "X-Raw-Bin": "", "X-Caller": "ann", "Accept-Language": "de", "Accept": "", "Te": "trailers",
		"Content-Type": "application/grpc", "Grpc-Accept-Encoding": "identity", "Grpc-Metadata-X-Tenant": "", "Grpc-Timeout": "5000000u",
	}
	for name, value := range want {
		if seen.Get(name) != value {
			t.Errorf("the service sees %s: %q, want %q", name, seen.Get(name), value)
		}
	}
	for name, value := range map[string]string{
		"Grpc-Metadata-X-Plain": "a", "Grpc-Metadata-X-Good-Bin": "AAE", "Grpc-Metadata-X-Data-Bin": "", "Grpc-Trailer-X-Late": "z", "X-Plain": "",
	} {
		if got.header.Get(name) != value {
			t.Errorf("the client sees %s: %q, want %q", name, got.header.Get(name), value)
		}
	}
}

// A stream of 100 MB takes no memory to speak of.
func TestGRPCTranscodeStreamMemory(t *testing.T) {
	message := []byte(frame(0, "\x12\x80\x80\x02"+strings.Repeat("x", 32<<10))) // once: the service is in this process too
	addr := hostileGRPC(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 100 << 20 / len(message) {
			if _, err := w.Write(message); err != nil {
				return
			}
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	})
	base, _ := gatewayOf(t, addr, "grpc_transcode: {"+documented(t, "")+"}")
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	idle, peak, total := stats.HeapAlloc, uint64(0), 0
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(base + "/shop/v1/orders/7/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buf, next := make([]byte, 64<<10), 10<<20
	for err == nil {
		var n int
		n, err = res.Body.Read(buf)
		if total += n; total > next {
			next += 10 << 20
			runtime.GC()
			runtime.ReadMemStats(&stats)
			peak = max(peak, stats.HeapAlloc)
		}
	}
	if total < 100<<20*99/100 {
		t.Errorf("%d bytes came, then %v", total, err)
	}
	t.Logf("%d KiB above idle at most", (int64(peak)-int64(idle))>>10)
	if peak > idle+4<<20 {
		t.Errorf("the heap grew from %d to %d", idle, peak)
	}
}

func TestGRPCTranscodeTimeout(t *testing.T) {
	addr := hostileGRPC(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	base, ended := gatewayOf(t, addr, "grpc_transcode: {"+documented(t, "")+"}")
	start := time.Now()
	got := call(t, base, "GET /shop/v1/orders/7\nGrpc-Timeout: 50m", "")
	if x := <-ended; got.status != 504 || x.Err == nil || x.Err.Reason != "grpc_timeout" || time.Since(start) > 5*time.Second {
		t.Errorf("%d after %s: %s", got.status, time.Since(start), got.body)
	}
}

func TestGRPCTranscodeMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for block, want := range map[string][]string{
		"grpc_transcode: {max_message: 0B, descriptors: {reflection: true}}": {"1:31: 0B is not from 1B to 256MiB"},
		"grpc_transcode: {descriptors: {file: a, reflection: true}}":         {"1:18: file, protos and reflection exclude each other"},
		"grpc_transcode: {descriptors: {reflection: true}, metadata: {request: [te]}}": {
			"1:72: te belongs to HTTP or gRPC itself and is no metadata",
		},
	} {
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s:\n%s", block, diff)
		}
	}
}
