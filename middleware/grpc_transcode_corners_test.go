package middleware_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pithead/pithead/gateway/demo/ordersv1"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// ordersFiles are the descriptors of the demo's service, imports first.
func ordersFiles() (files []*descriptorpb.FileDescriptorProto) {
	seen := map[string]bool{}
	var add func(fd protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		files = append(files, protodesc.ToFileDescriptorProto(fd))
	}
	add((*ordersv1.Order)(nil).ProtoReflect().Descriptor().ParentFile())
	return files
}

func writeFile(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func ordersSet(t testing.TB) string {
	t.Helper()
	raw, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: ordersFiles()})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "orders.binpb", raw)
}

func TestGRPCTranscodeDescriptorSet(t *testing.T) {
	base, _ := shopGateway(t, "descriptors: {file: "+ordersSet(t)+"}")
	if got := call(t, base, "GET /orders/7", ""); got.status != 200 || !strings.HasPrefix(got.body, `{"id":"7","customer":"ann"`) {
		t.Errorf("%d: %s", got.status, got.body)
	}
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for name, text := range map[string]string{"empty": "", "no set": "not a set of descriptors"} {
		mistakes := middlewaretest.Mistakes(t, env, "grpc_transcode: {descriptors: {file: "+writeFile(t, "orders.binpb", []byte(text))+"}}")
		if len(mistakes) != 1 || !strings.HasPrefix(mistakes[0], "1:38: ") {
			t.Errorf("%s: %q", name, mistakes)
		}
	}
}

// aspects is a contract that says what the one in configs/ has no need for.
const aspects = `openapi: 3.1.0
info: {title: Orders, version: "1"}
paths:
  /orders:
    get:
      operationId: Orders_ListOrders
      parameters:
        - {name: X-Page-Size, in: header, x-grpc-field: page_size, schema: {type: integer}}
        - {name: state, in: cookie, x-grpc-field: status, schema: {type: string}}
      responses: {"200": {description: some orders}}
  /orders/{id}/items:
    get:
      operationId: Orders_GetOrder
      x-grpc-response-body: items
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {"200": {description: what is in it}}
  /orders/{id}/address:
    get:
      x-grpc-method: orders.v1.Orders/GetOrder
      x-grpc-response-body: address
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {"200": {description: where it goes}}
`

func TestGRPCTranscodeFieldsAndParameters(t *testing.T) {
	base, _ := shopGateway(t, "openapi: "+writeFile(t, "api.yaml", []byte(aspects))+", descriptors: {file: "+ordersSet(t)+"}")
	for _, tt := range []struct {
		name, head string
		status     int
		want       string // begins with
	}{
		{"response_body: a message", "GET /orders/7/address", 200, `{"street":"High Street 1","city":"York"}`},
		{"response_body: a list", "GET /orders/7/items", 200, `[{"article":"hat","quantity":2,"priceCents":"1999"}]`},
		{"header", "GET /orders\nX-Page-Size: 1", 200, `{"orders":[{"id":"7"`},
		{"header that is no number", "GET /orders\nX-Page-Size: many", 400, `{"type":"about:blank"`},
		{"header reaches the service", "GET /orders\nX-Page-Size: -1", 400, `{"type":"about:blank","title":"Bad Request","status":400,"detail":"page_size must not be negative"`},
		{"cookie", "GET /orders\nCookie: a=b; state=STATUS_OPEN", 200, `{"orders":[{"id":"7"`},
		{"cookie chooses", "GET /orders\nCookie: state=STATUS_SHIPPED", 200, `{}`},
		{"cookie that is no name of the enum", "GET /orders\nCookie: state=NO", 400, `{"type":"about:blank"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := call(t, base, tt.head, ""); got.status != tt.status || !strings.HasPrefix(got.body, tt.want) {
				t.Errorf("%d: %s, want %s", got.status, got.body, tt.want)
			}
		})
	}
}

// A mask that the caller gives is the one that counts.
func TestGRPCTranscodeMaskOfTheCaller(t *testing.T) {
	base, _ := shopGateway(t, "descriptors: {file: "+ordersSet(t)+"}")
	for _, tt := range []struct {
		name, head, body string
		status           int
		want             string // part of the answer
	}{
		{"one field of two", "PATCH /orders/7?update_mask=customer", `{"customer":"bea","address":{"city":"Leeds"}}`, 200, `"customer":"bea"`},
		{"the other stays", "GET /orders/7", "", 200, `"address":{"street":"High Street 1","city":"York"}`},
		{"by its JSON name, and within a message", "PATCH /orders/7?updateMask=address.city", `{"customer":"no","address":{"street":"no","city":"Hull"}}`, 200, `"address":{"street":"High Street 1","city":"Hull"}`},
		{"what is not in the body is emptied", "PATCH /orders/7?updateMask=customer,items", `{"customer":"cat"}`, 200, `{"id":"7","customer":"cat","status"`},
		{"a field that is not there", "PATCH /orders/7?updateMask=nothing", `{"customer":"dan"}`, 400, `update_mask has nothing`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := call(t, base, tt.head, tt.body); got.status != tt.status || !strings.Contains(got.body, tt.want) {
				t.Errorf("%d: %s, want %s", got.status, got.body, tt.want)
			}
		})
	}
}

// oldCluster is an upstream that speaks HTTP/1.1.
type oldCluster struct{ *middlewaretest.Cluster }

func (oldCluster) HTTP2() bool { return false }

func TestGRPCTranscodeNeedsHTTP2(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	env.To = oldCluster{middlewaretest.NewCluster("orders")}
	want := []string{`1:1: upstream "orders" does not speak HTTP/2, which gRPC needs; write protocol: h2c, or https without proxy_protocol`}
	if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "grpc_transcode: {descriptors: {reflection: true}}")); diff != "" {
		t.Error(diff)
	}
	env.To = nil
	want = []string{"1:1: needs an upstream; name the gRPC service under the route's `to`"}
	if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "grpc_transcode: {descriptors: {reflection: true}}")); diff != "" {
		t.Error(diff)
	}
}

// h2Client speaks HTTP/2 without TLS.
func h2Client(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestGRPCTranscodeHTTP2Clients(t *testing.T) {
	base, _ := shopGateway(t, documented(t, ""))
	client := h2Client(t)
	for _, tt := range []struct {
		name, method, path, contentType, body string
		status                                int
		want                                  string
	}{
		{"message", "POST", "/shop/v1/orders", "application/json", `{"customer":"bob"}`, 200, `{"id":"8","customer":"bob","status":"STATUS_OPEN"}`},
		{"stream of the service", "GET", "/shop/v1/orders/7/events?events=2", "", "", 200, `{"number":1,"text":"order 7 was looked at"}` + "\n" + `{"number":2,"text":"order 7 was looked at"}` + "\n"},
		{"stream of the client", "POST", "/shop/v1/orders:import", "application/x-ndjson", "{\"order\":{\"customer\":\"a\"}}\n{\"order\":{\"customer\":\"b\"}}\n", 200, `{"imported":2}`},
		{"refusal", "PUT", "/shop/v1/orders/7", "", "", 405, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, base+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", tt.contentType)
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.ProtoMajor != 2 || res.StatusCode != tt.status || tt.want != "" && string(body) != tt.want {
				t.Errorf("%s %d %v: %s", res.Proto, res.StatusCode, err, body)
			}
		})
	}
}

// A client that goes away ends the call at the service, whatever it has got until then.
func TestGRPCTranscodeCancellation(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	addr := hostileGRPC(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "WatchOrder") {
			w.Write([]byte(frame(0, "\x08\x01")))
			_ = http.NewResponseController(w).Flush()
		}
		began <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	base, exchanges := gatewayOf(t, addr, "grpc_transcode: {"+documented(t, "")+"}")
	for name, client := range map[string]*http.Client{"h1": {Transport: &http.Transport{DisableKeepAlives: true}}, "h2": h2Client(t)} {
		t.Run(name+" before the answer", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-began; cancel() }()
			r, err := http.NewRequestWithContext(ctx, "GET", base+"/shop/v1/orders/7", nil)
			if err != nil {
				t.Fatal(err)
			}
			if res, err := client.Do(r); err == nil {
				_ = res.Body.Close()
				t.Errorf("answered %d", res.StatusCode)
			}
			<-ended
			<-exchanges
		})
		t.Run(name+" in a stream", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, "GET", base+"/shop/v1/orders/7/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if line, err := bufio.NewReader(res.Body).ReadString('\n'); line != "{\"number\":1}\n" {
				t.Fatalf("%q, %v", line, err)
			}
			<-began
			cancel()
			<-ended
			<-exchanges
		})
	}
}

// Health and reflection are gRPC calls like all others.
func TestGRPCTranscodePassesHealthAndReflection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service, states, done := grpc.NewServer(), health.NewServer(), make(chan error, 1)
	grpc_health_v1.RegisterHealthServer(service, states)
	reflection.Register(service)
	go func() { done <- service.Serve(l) }()
	t.Cleanup(func() {
		service.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	base, _ := gatewayOf(t, l.Addr().String(), "grpc_transcode: {"+documented(t, "")+"}")
	conn, err := grpc.NewClient(strings.TrimPrefix(base, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "orders.v1.Orders"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{
		grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN, grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING,
	} {
		if want != grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
			states.SetServingStatus("orders.v1.Orders", want)
		}
		if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
			t.Errorf("watch: %v, %v; want %v", got.GetStatus(), err, want)
		}
	}
	ask, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // each question is answered before the next is asked
		if err := ask.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		got, err := ask.Recv()
		if err != nil || len(got.GetListServicesResponse().GetService()) != 3 {
			t.Errorf("reflection: %v, %v", got, err)
		}
	}
	if err := ask.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := ask.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("reflection ends with %v", err)
	}
}
