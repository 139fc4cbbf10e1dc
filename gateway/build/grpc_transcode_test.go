package build

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pithead/pithead/gateway/demo/ordersv1"
)

// orderService fails its first calls with UNAVAILABLE, and says its name then.
type orderService struct {
	ordersv1.UnimplementedOrdersServer
	name  string
	fails atomic.Int64
	asked atomic.Int64
}

func (s *orderService) answer(o *ordersv1.Order) (*ordersv1.Order, error) {
	s.asked.Add(1)
	if s.fails.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "not now")
	}
	return &ordersv1.Order{Id: o.GetId(), Customer: s.name}, nil
}

func (s *orderService) GetOrder(_ context.Context, in *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
	return s.answer(&ordersv1.Order{Id: in.GetId()})
}

func (s *orderService) CreateOrder(_ context.Context, in *ordersv1.CreateOrderRequest) (*ordersv1.Order, error) {
	return s.answer(&ordersv1.Order{Id: in.GetOrder().GetCustomer()})
}

// startOrderService starts one, and says where.
func startOrderService(t *testing.T, name string) (s *orderService, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = &orderService{name: name}
	server, done := grpc.NewServer(), make(chan error, 1)
	ordersv1.RegisterOrdersServer(server, s)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

const transcodeConfig = `
upstreams:
  orders: {protocol: h2c, discover: {static: {targets: [%[1]q]}}}
  orders-v2: {protocol: h2c, discover: {static: {targets: [%[2]q]}}}
  old: {discover: {static: {targets: [%[1]q]}}}
middleware:
  shop: {grpc_transcode: {openapi: %[3]s/orders.openapi.yaml, descriptors: {protos: [%[3]s/orders.proto]}}}
  again: {retry: {attempts: 2, grpc: [unavailable], methods: [GET, POST], budget: {min: 100}}}
routes:
  - {name: retry, match: {host: retry.test, prefix: /shop/v1}, use: [shop, again], to: orders}
  - {name: once, match: {host: once.test, prefix: /shop/v1}, use: [shop], to: orders}
  - {name: canary, match: {host: canary.test, prefix: /shop/v1}, use: [shop, canary: {header: X-Canary, arms: {stable: {to: orders}, canary: {to: orders-v2}}, split: {stable: 100, canary: 0}}], to: orders}
  - {name: checked, match: {host: checked.test, prefix: /shop/v1}, use: [openapi_validate: {openapi: %[3]s/orders.openapi.yaml, responses: enforce}, shop], to: orders}
`

func transcodeText(t *testing.T, addr, second string) string {
	t.Helper()
	dir, err := filepath.Abs("../../configs/grpc")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(transcodeConfig, addr, second, dir)
}

// What stands below and above grpc_transcode in a route works on the call, or on the
// request, that it sees.
func TestGRPCTranscodeInARoute(t *testing.T) {
	first, addr := startOrderService(t, "stable")
	second, other := startOrderService(t, "canary")
	p := newProcess(t)
	front := p.serve(p.start(transcodeText(t, addr, other)), "web")
	const post = "\nContent-Type: application/json\n\n"
	for _, tt := range []struct {
		name, request string
		fails         int64 // calls that fail first
		status        int
		body          string // part of it
		asked         [2]int64
	}{
		{"retry by code", "GET http://retry.test/shop/v1/orders/1", 2, 200, `{"id":"1","customer":"stable"}`, [2]int64{3, 0}},
		{"retry sends the message again", "POST http://retry.test/shop/v1/orders" + post + `{"customer":"ann"}`, 1, 200, `{"id":"ann","customer":"stable"}`, [2]int64{2, 0}},
		{"retries end", "GET http://retry.test/shop/v1/orders/1", 9, 503, `"code":"UNAVAILABLE"`, [2]int64{3, 0}},
		{"no retry", "GET http://once.test/shop/v1/orders/1", 1, 503, `"detail":"not now"`, [2]int64{1, 0}},
		{"canary: stable", "GET http://canary.test/shop/v1/orders/1", 0, 200, `"customer":"stable"`, [2]int64{1, 0}},
		{"canary: by the header of the client", "GET http://canary.test/shop/v1/orders/1\nX-Canary: always", 0, 200, `"customer":"canary"`, [2]int64{0, 1}},
		{"validated: fits", "POST http://checked.test/shop/v1/orders" + post + `{"customer":"ann"}`, 0, 200, `{"id":"ann","customer":"stable"}`, [2]int64{1, 0}},
		{"validated: wrong type", "POST http://checked.test/shop/v1/orders" + post + `{"customer":"ann","items":[{"quantity":"two"}]}`, 0, 400, `/items/0/quantity`, [2]int64{0, 0}},
		{"validated: enum", "POST http://checked.test/shop/v1/orders" + post + `{"customer":"ann","status":"NO"}`, 0, 400, `/status`, [2]int64{0, 0}},
		{"validated: B05 a string where the schema has a number", "POST http://checked.test/shop/v1/orders" + post + `{"customer":"ann","items":[{"quantity":"1"}]}`, 0, 400, `/items/0/quantity`, [2]int64{0, 0}},
		{"validated: refused by the service", "GET http://checked.test/shop/v1/orders/1", 1, 503, `"code":"UNAVAILABLE"`, [2]int64{1, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first.asked.Store(0)
			second.asked.Store(0)
			first.fails.Store(tt.fails)
			a := front.ask(t, tt.request)
			if a.status != tt.status || !strings.Contains(a.body, tt.body) {
				t.Errorf("%d: %s", a.status, a.body)
			}
			if got := [2]int64{first.asked.Load(), second.asked.Load()}; got != tt.asked {
				t.Errorf("asked %v times, want %v", got, tt.asked)
			}
		})
	}
}

func TestGRPCTranscodeOverHTTP1(t *testing.T) {
	p := newProcess(t)
	text := transcodeText(t, "127.0.0.1:1", "127.0.0.1:1") + "  - {name: old, match: {host: old.test, prefix: /shop/v1}, use: [shop], to: old}\n"
	mistakes := p.mistakes(text)
	if len(mistakes) != 1 || !strings.Contains(mistakes[0], `upstream "old" does not speak HTTP/2, which gRPC needs; write protocol: h2c`) {
		t.Errorf("%q", mistakes)
	}
}
