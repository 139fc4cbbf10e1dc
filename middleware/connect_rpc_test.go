package middleware_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/demo/ordersv1"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// described are the settings of connect_rpc for the messages in configs/.
func described(t testing.TB) string {
	t.Helper()
	file, err := filepath.Abs("../configs/grpc/orders.proto")
	if err != nil {
		t.Fatal(err)
	}
	return "connect_rpc: {max_message: 1KiB, get: [orders.v1.Orders/GetOrder], descriptors: {protos: [" + file + "]}}"
}

func gzipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(s))
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const (
	jsonHead  = "\nContent-Type: application/json\nConnect-Protocol-Version: 1"
	protoHead = "\nContent-Type: application/proto\nConnect-Protocol-Version: 1"
)

func TestConnectUnary(t *testing.T) {
	base := browserGateway(t, described(t))
	get := wireOf(t, &ordersv1.GetOrderRequest{Id: "7"})
	query := "/orders.v1.Orders/GetOrder?connect=v1&encoding="
	tests := []struct {
		name, head, body string
		status           int
		want             string // the beginning of the body
	}{
		{"JSON", rpc + "GetOrder" + jsonHead, `{"id":"7"}`, 200, `{"id":"7","customer":"ann",`},
		{"JSON by its path", rpc + "GetOrder\nContent-Type: application/json; charset=utf-8", `{"id":"7"}`, 200, `{"id":"7","customer":"ann",`},
		{"compressed JSON", rpc + "GetOrder\nContent-Encoding: gzip" + jsonHead, gzipped(t, `{"id":"7"}`), 200, `{"id":"7",`},
		{"protobuf", rpc + "GetOrder" + protoHead, get, 200, "\n\x017\x12\x03ann"},
		{"compressed protobuf", rpc + "GetOrder\nContent-Encoding: gzip" + protoHead, gzipped(t, get), 200, "\n\x017\x12\x03ann"},
		{"GET in JSON", "GET " + query + "json&message=" + url.QueryEscape(`{"id":"7"}`), "", 200, `{"id":"7",`},
		{"GET in base64", "GET " + query + "proto&base64=1&message=" + base64.RawURLEncoding.EncodeToString([]byte(get)), "", 200, "\n\x017\x12\x03ann"},
		{"GET compressed", "GET " + query + "proto&base64=1&compression=gzip&message=" + base64.URLEncoding.EncodeToString([]byte(gzipped(t, get))), "", 200, "\n\x017\x12\x03ann"},
		{"an error", rpc + "GetOrder" + jsonHead, `{"id":"x"}`, 404, `{"code":"not_found","message":"there is no order \"x\"","details":[{"type":"google.rpc.ResourceInfo","value":"`},
		{"an error of protobuf", rpc + "GetOrder" + protoHead, "\x0a\x01x", 404, `{"code":"not_found",`},
		{"B12 unknown member", rpc + "GetOrder" + jsonHead, `{"idd":"7"}`, 400, `{"code":"invalid_argument",`},
		{"B03 duplicate member", rpc + "GetOrder" + jsonHead, `{"id":"7","id":"8"}`, 400, `{"code":"invalid_argument",`},
		{"B01 too deep", rpc + "CreateOrder" + jsonHead, strings.Repeat(`{"order":`, 100), 400, `{"code":"invalid_argument",`},
		{"no JSON", rpc + "GetOrder" + jsonHead, "", 400, `{"code":"invalid_argument",`},
		{"too large", rpc + "GetOrder" + protoHead, strings.Repeat("x", 1025), 413, `{"code":"resource_exhausted",`},
		{"B18 too large when unpacked", rpc + "GetOrder\nContent-Encoding: gzip" + jsonHead, gzipped(t, strings.Repeat(" ", 1<<20)), 413, `{"code":"resource_exhausted",`},
		{"no gzip", rpc + "GetOrder\nContent-Encoding: gzip" + jsonHead, "hello", 400, `{"code":"invalid_argument",`},
		{"another compression", rpc + "GetOrder\nContent-Encoding: br" + jsonHead, "hello", 501, `{"code":"unimplemented",`},
		{"no such method", rpc + "Nothing" + jsonHead, `{}`, 404, `{"code":"unimplemented",`},
		{"no such method of protobuf", rpc + "Nothing" + protoHead, "", 501, `{"code":"unimplemented",`},
		{"another version", rpc + "GetOrder\nContent-Type: application/proto\nConnect-Protocol-Version: 2", get, 400, `{"code":"invalid_argument",`},
		{"bad timeout", rpc + "GetOrder\nConnect-Timeout-Ms: soon" + protoHead, get, 400, `{"code":"invalid_argument",`},
		{"timeout of eleven digits", rpc + "GetOrder\nConnect-Timeout-Ms: 10000000000" + protoHead, get, 400, `{"code":"invalid_argument",`},
		{"another verb", "DELETE /orders.v1.Orders/GetOrder" + protoHead, get, 405, `{"code":"unknown",`},
		{"GET of a method with side effects", "GET /orders.v1.Orders/DeleteOrder?encoding=json&message={}", "", 405, `{"code":"unknown",`},
		{"GET of another version", "GET /orders.v1.Orders/GetOrder?connect=v2&encoding=json&message={}", "", 400, `{"code":"invalid_argument",`},
		{"another codec", "GET " + query + "xml&message=a", "", 415, `{"code":"unimplemented",`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := call(t, base, tt.head, tt.body)
			if a.status != tt.status || !strings.HasPrefix(a.body, tt.want) {
				t.Errorf("%d %q", a.status, a.body)
			}
			want := "application/json"
			if a.status == 200 && a.body[0] != '{' {
				want = "application/proto"
			}
			if ct := a.header.Get("Content-Type"); ct != want {
				t.Errorf("content type %q, want %q", ct, want)
			}
			for name := range a.header {
				if strings.HasPrefix(name, "Grpc-") {
					t.Errorf("the client sees %s", name)
				}
			}
			if a.status == 200 && a.header.Get("Etag") != `"7"` {
				t.Errorf("metadata: %v", a.header)
			}
		})
	}
}

func TestConnectWithoutDescriptors(t *testing.T) {
	base := browserGateway(t, "connect_rpc: {}")
	for name, head := range map[string]string{"one message": rpc + "GetOrder" + jsonHead, "without a version": rpc + "GetOrder\nContent-Type: application/json"} {
		t.Run(name, func(t *testing.T) {
			if a := call(t, base, head, `{"id":"7"}`); a.status != 415 || !strings.Contains(a.body, "JSON needs descriptors") {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	if a := call(t, base, rpc+"GetOrder"+protoHead, "\x0a\x017"); a.status != 200 {
		t.Errorf("protobuf: %d %s", a.status, a.body)
	}
	a := call(t, base, rpc+"WatchOrder\nContent-Type: application/connect+json", frame(0, `{"id":"7"}`))
	if frames := framesOf(t, a.body); a.status != 200 || len(frames) != 1 || frames[0].flags != 2 || !strings.HasPrefix(frames[0].message, `{"error":{"code":"unimplemented"`) {
		t.Errorf("a stream: %d %q", a.status, a.body)
	}
}

func TestConnectReflection(t *testing.T) {
	base := browserGateway(t, "connect_rpc: {descriptors: {reflection: true}}")
	if a := call(t, base, rpc+"GetOrder"+jsonHead, `{"id":"7"}`); a.status != 200 || !strings.HasPrefix(a.body, `{"id":"7"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestConnectStreams(t *testing.T) {
	base := browserGateway(t, described(t))
	jsonType, protoType := "\nContent-Type: application/connect+json", "\nContent-Type: application/connect+proto"
	watch := wireOf(t, &ordersv1.WatchOrderRequest{Id: "7", Events: 3})
	made := frame(0, wireOf(t, &ordersv1.CreateOrderRequest{Order: &ordersv1.Order{Customer: "bob"}}))
	tests := []struct {
		name, head, body string
		messages         int
		end              string // the beginning of it
	}{
		{"of the service", rpc + "WatchOrder" + protoType, frame(0, watch), 3, "{}"},
		{"of the service in JSON", rpc + "WatchOrder" + jsonType, frame(0, `{"id":"7","events":2}`), 2, "{}"},
		{"compressed", rpc + "WatchOrder\nConnect-Content-Encoding: gzip" + protoType, frame(1, gzipped(t, watch)), 3, "{}"},
		{"compressed JSON", rpc + "WatchOrder\nConnect-Content-Encoding: gzip" + jsonType, frame(1, gzipped(t, `{"id":"7","events":2}`)), 2, "{}"},
		{"of the client", rpc + "ImportOrders" + protoType, made + made, 1, "{}"},
		{"of the client in JSON", rpc + "ImportOrders" + jsonType, frame(0, `{"order":{"customer":"bob"}}`) + frame(0, `{"order":{"customer":"eve"}}`), 1, "{}"},
		{"an error", rpc + "WatchOrder" + jsonType, frame(0, `{"id":"x"}`), 0, `{"error":{"code":"not_found","message":"there is no order \"x\"","details":[`},
		{"bad JSON", rpc + "WatchOrder" + jsonType, frame(0, `{"idd":"x"}`), 0, `{"error":{"code":"invalid_argument"`},
		{"cut", rpc + "WatchOrder" + protoType, frame(0, watch)[:6], 0, `{"error":{"code":"invalid_argument"`},
		{"cut JSON", rpc + "WatchOrder" + jsonType, frame(0, `{"id":"7"}`)[:9], 0, `{"error":{"code":"invalid_argument"`},
		{"cut head", rpc + "WatchOrder" + jsonType, "\x00\x00", 0, `{"error":{"code":"invalid_argument"`},
		{"too large", rpc + "WatchOrder" + protoType, "\x00\x00\x00\x04\x01", 0, `{"error":{"code":"resource_exhausted"`},
		{"too large JSON", rpc + "WatchOrder" + jsonType, "\x00\xff\xff\xff\xff", 0, `{"error":{"code":"resource_exhausted"`},
		{"not agreed compression", rpc + "WatchOrder" + protoType, frame(1, "a"), 0, `{"error":{"code":"internal"`},
		{"an end from the client", rpc + "WatchOrder" + protoType, frame(2, "{}"), 0, `{"error":{"code":"invalid_argument"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := call(t, base, tt.head, tt.body)
			frames := framesOf(t, a.body)
			last := frames[len(frames)-1]
			if a.status != 200 || len(frames)-1 != tt.messages || last.flags != 2 || !strings.HasPrefix(last.message, tt.end) {
				t.Errorf("%d: %d messages, then %x %s", a.status, len(frames)-1, last.flags, last.message)
			}
			if ct := a.header.Get("Content-Type"); !strings.Contains(tt.head, ct) {
				t.Errorf("content type %q", ct)
			}
		})
	}
}

// What is sent to the service, and what is told of its answer.
func TestConnectMetadata(t *testing.T) {
	seen := make(chan http.Header, 1)
	addr := hostileGRPC(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		h := w.Header()
		h["Grpc-Encoding"], h["X-Begin"], h["Trailer"] = []string{"br"}, []string{"1", "2"}, []string{"Grpc-Status", "X-End-Bin", "X-End"}
		writeNow(w, frame(1, "packed"))
		h["Grpc-Status"], h["X-End-Bin"], h["X-End"] = []string{"0"}, []string{"AQ"}, []string{"3", "4"}
	})
	base, _ := gatewayOf(t, addr, "connect_rpc: {}")
	more := "\nX-Canary: 1\nGrpc-Status: 0\nGrpc-Timeout: 1H\nConnect-Timeout-Ms: 5000"
	want := http.Header{
		"X-Canary": {"1"}, "Grpc-Timeout": {"5000000u"}, "Grpc-Accept-Encoding": {"br,gzip"}, "Grpc-Encoding": {"br"},
		"Content-Type": {"application/grpc+proto"}, "Te": {"trailers"},
	}
	for form, head := range map[string]string{
		"one message": rpc + "X" + more + protoHead + "\nContent-Encoding: br\nAccept-Encoding: br, gzip;q=0.5, *;q=0.1, x;q=0",
		"a stream":    rpc + "X" + more + "\nContent-Type: application/connect+proto\nConnect-Content-Encoding: br\nConnect-Accept-Encoding: br, gzip",
	} {
		t.Run(form, func(t *testing.T) {
			body := "packed"
			if form == "a stream" {
				body = frame(1, "packed")
			}
			a := call(t, base, head, body)
			got := <-seen
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "User-Agent", "Content-Length"} {
				got.Del(name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the service saw (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff([]string{"1", "2"}, a.header["X-Begin"]); diff != "" {
				t.Error(diff)
			}
			if form == "a stream" {
				frames := framesOf(t, a.body)
				if len(frames) != 2 || frames[0] != (wireFrame{1, "packed"}) || frames[1].message != `{"metadata":{"x-end":["3","4"],"x-end-bin":["AQ"]}}` || a.header.Get("Connect-Content-Encoding") != "br" {
					t.Errorf("%q %v", a.body, a.header)
				}
				return
			}
			if a.body != "packed" || a.header.Get("Content-Encoding") != "br" || a.header.Get("Trailer-X-End-Bin") != "AQ" || len(a.header["Trailer-X-End"]) != 2 {
				t.Errorf("%q %v", a.body, a.header)
			}
		})
	}
}

// The gateway's own errors have their own status and headers.
func TestConnectOwnErrors(t *testing.T) {
	base, ended := gatewayOf(t, "127.0.0.1:1", described(t)) // nobody listens there
	a := call(t, base, rpc+"GetOrder"+jsonHead, `{}`)
	if x := <-ended; a.status < 500 || x.Err == nil || !strings.HasPrefix(a.body, `{"code":"unavailable"`) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v %v", a.status, a.body, a.header, x.Err)
	}
}

func TestConnectMalformedAnswers(t *testing.T) {
	status := func(messages string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status")
			writeNow(w, messages)
			w.Header().Set("Grpc-Status", "0")
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		status int
		want   string
	}{
		{"B20 no status", func(w http.ResponseWriter, _ *http.Request) { writeNow(w, frame(0, "")) }, 502, `{"code":"internal"`},
		{"no message", status(""), 502, `{"code":"internal"`},
		{"two messages", status(frame(0, "") + frame(0, "")), 502, `{"code":"internal"`},
		{"two messages, too much for one", status(frame(0, strings.Repeat("x", 900)) + frame(0, strings.Repeat("x", 900))), 502, `{"code":"internal"`},
		{"B19 4 GiB", status("\x00\xff\xff\xff\xff"), 502, `{"code":"resource_exhausted"`},
		{"not in its descriptor", status(frame(0, "\x0a\xff")), 502, `{"code":"internal"`},
		{"plain HTTP", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, 429, `{"code":"unavailable"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, _ := gatewayOf(t, hostileGRPC(t, tt.answer), described(t))
			if a := call(t, base, rpc+"GetOrder"+jsonHead, `{}`); a.status != tt.status || !strings.HasPrefix(a.body, tt.want) {
				t.Errorf("%d %q", a.status, a.body)
			}
		})
	}
	t.Run("a stream that is not in its descriptor", func(t *testing.T) {
		base, _ := gatewayOf(t, hostileGRPC(t, status(frame(0, "")+frame(0, "\x12\xff"))), described(t))
		a := call(t, base, rpc+"WatchOrder\nContent-Type: application/connect+json", frame(0, "{}"))
		if frames := framesOf(t, a.body); len(frames) != 2 || frames[0].message != "{}" || !strings.HasPrefix(frames[1].message, `{"error":{"code":"internal"`) {
			t.Errorf("%q", a.body)
		}
	})
}

func TestConnectPasses(t *testing.T) {
	to := middlewaretest.NewCluster("orders")
	env := middlewaretest.Env(t, to)
	step := middlewaretest.Build(t, env, described(t))
	for _, head := range []string{
		"GET /a.B/C", "GET /a.B/C?message=a", "POST /a.B/C\nContent-Type: application/grpc", "POST /v1/orders\nContent-Type: application/json",
		"OPTIONS /a.B/C\nContent-Type: application/proto", "POST /a.B/C\nContent-Type: text/plain",
	} {
		t.Run(head, func(t *testing.T) {
			middlewaretest.Send(t, env, step, middlewaretest.Request(t, head), &gateway.Exchange{})
			if got, _ := to.Last(); got == nil || got.Header.Get("Te") != "" || got.Header.Get("Content-Type") == "application/grpc+proto" {
				t.Error("did not pass as it is")
			}
		})
	}
}

func TestConnectMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for block, want := range map[string]string{
		"connect_rpc: {max_message: 0B}":                "is not from 1B to 256MiB",
		"connect_rpc: {max_depth: 0}":                   "is not from 1 to 1000",
		"connect_rpc: {get: [GetOrder]}":                "write package.Service/Method",
		"connect_rpc: {descriptors: {}}":                "give file, protos or reflection",
		"connect_rpc: {descriptors: {file: /nowhere}}":  "no such file",
		"connect_rpc: {descriptors: {protos: [/nope]}}": "nope",
		"grpc_web: {max_message: 1GiB}":                 "is not from 1B to 256MiB",
	} {
		if got := middlewaretest.Mistakes(t, env, block); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q", block, got)
		}
	}
}
