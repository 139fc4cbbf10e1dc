package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pithead/pithead/gateway/demo/ordersv1"
)

// OrdersEnv is the name of the variable that tells the demo configuration where
// the gRPC service is.
const OrdersEnv = "DEMO_GRPC"

// maxOrders bounds what the service remembers.
const maxOrders = 10_000

// Orders is the gRPC service of the demo: a small shop in memory. It describes
// itself by server reflection.
type Orders struct {
	Addr string // host:port

	server *grpc.Server
	done   chan error
}

// StartOrders starts the service on address.
func StartOrders(address string) (*Orders, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start the gRPC demo service: %w", err)
	}
	s := &Orders{Addr: l.Addr().String(), server: grpc.NewServer(), done: make(chan error, 1)}
	ordersv1.RegisterOrdersServer(s.server, newShop())
	reflection.Register(s.server)
	go func() { s.done <- s.server.Serve(l) }()
	return s, nil
}

// Stop ends the service, and the calls that are under way.
func (s *Orders) Stop() error {
	s.server.Stop()
	if err := <-s.done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// shop implements the service.
type shop struct {
	ordersv1.UnimplementedOrdersServer

	mu     sync.Mutex
	orders map[string]*ordersv1.Order
	last   int
}

func newShop() *shop {
	opened := timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	return &shop{last: 7, orders: map[string]*ordersv1.Order{"7": {
		Id: "7", Customer: "ann", Status: ordersv1.Status_STATUS_OPEN, Created: opened,
		Items:   []*ordersv1.Item{{Article: "hat", Quantity: 2, PriceCents: 1999}},
		Labels:  map[string]string{"channel": "web"},
		Address: &ordersv1.Address{Street: "High Street 1", City: "York"},
	}}}
}

// find returns the order itself. The caller has the lock.
func (s *shop) find(id string) (*ordersv1.Order, error) {
	if o, ok := s.orders[id]; ok {
		return o, nil
	}
	st, err := status.Newf(codes.NotFound, "there is no order %q", id).WithDetails(&errdetails.ResourceInfo{ResourceType: "order", ResourceName: id})
	if err != nil {
		return nil, err
	}
	return nil, st.Err()
}

// GetOrder implements the service.
func (s *shop) GetOrder(ctx context.Context, in *ordersv1.GetOrderRequest) (*ordersv1.Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(in.GetId())
	if err != nil {
		return nil, err
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs("etag", `"`+o.GetId()+`"`)); err != nil {
		return nil, err
	}
	return proto.CloneOf(o), nil
}

// ListOrders implements the service.
func (s *shop) ListOrders(_ context.Context, in *ordersv1.ListOrdersRequest) (*ordersv1.ListOrdersResponse, error) {
	if in.GetPageSize() < 0 {
		return nil, badField("page_size", "must not be negative")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &ordersv1.ListOrdersResponse{}
	for _, id := range slices.Sorted(maps.Keys(s.orders)) {
		o := s.orders[id]
		if len(in.GetStatus()) > 0 && !slices.Contains(in.GetStatus(), o.GetStatus()) || !labelled(o, in.GetLabels()) {
			continue
		}
		if n := int(in.GetPageSize()); n > 0 && len(out.GetOrders()) == n {
			break
		}
		out.Orders = append(out.Orders, proto.CloneOf(o))
	}
	return out, nil
}

func labelled(o *ordersv1.Order, labels map[string]string) bool {
	for name, value := range labels {
		if o.GetLabels()[name] != value {
			return false
		}
	}
	return true
}

// badField is an INVALID_ARGUMENT that names the field.
func badField(field, text string) error {
	st, err := status.New(codes.InvalidArgument, field+" "+text).WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: text}},
	})
	if err != nil {
		return err
	}
	return st.Err()
}

// CreateOrder implements the service.
func (s *shop) CreateOrder(_ context.Context, in *ordersv1.CreateOrderRequest) (*ordersv1.Order, error) {
	if in.GetOrder().GetCustomer() == "" {
		return nil, badField("order.customer", "is missing")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.orders) >= maxOrders {
		return nil, status.Error(codes.ResourceExhausted, "the shop is full")
	}
	s.last++
	o := proto.CloneOf(in.GetOrder())
	o.Id, o.Status = strconv.Itoa(s.last), ordersv1.Status_STATUS_OPEN
	s.orders[o.GetId()] = o
	return proto.CloneOf(o), nil
}

// UpdateOrder implements the service: it changes what the mask names.
func (s *shop) UpdateOrder(_ context.Context, in *ordersv1.UpdateOrderRequest) (*ordersv1.Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(in.GetOrder().GetId())
	if err != nil {
		return nil, err
	}
	for _, path := range in.GetUpdateMask().GetPaths() {
		switch path {
		case "id":
		case "customer":
			o.Customer = in.GetOrder().GetCustomer()
		case "items":
			o.Items = in.GetOrder().GetItems()
		case "labels":
			o.Labels = in.GetOrder().GetLabels()
		case "address":
			o.Address = in.GetOrder().GetAddress()
		case "address.city", "address.street":
			if o.GetAddress() == nil {
				o.Address = &ordersv1.Address{}
			}
			if path == "address.city" {
				o.Address.City = in.GetOrder().GetAddress().GetCity()
			} else {
				o.Address.Street = in.GetOrder().GetAddress().GetStreet()
			}
		default:
			return nil, badField("update_mask", "has "+path+", which cannot be changed")
		}
	}
	return proto.CloneOf(o), nil
}

// DeleteOrder implements the service.
func (s *shop) DeleteOrder(_ context.Context, in *ordersv1.DeleteOrderRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.find(in.GetId()); err != nil {
		return nil, err
	}
	delete(s.orders, in.GetId())
	return &emptypb.Empty{}, nil
}

// CancelOrder implements the service.
func (s *shop) CancelOrder(_ context.Context, in *ordersv1.CancelOrderRequest) (*ordersv1.Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(in.GetId())
	if err != nil {
		return nil, err
	}
	o.Status = ordersv1.Status_STATUS_CANCELLED
	return proto.CloneOf(o), nil
}

// GetInvoice implements the service.
func (s *shop) GetInvoice(_ context.Context, in *ordersv1.GetOrderRequest) (*httpbody.HttpBody, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(in.GetId())
	if err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, "invoice %s for %s\n", o.GetId(), o.GetCustomer())
	for _, item := range o.GetItems() {
		text = fmt.Appendf(text, "%d x %s\n", item.GetQuantity(), item.GetArticle())
	}
	return &httpbody.HttpBody{ContentType: "text/plain; charset=utf-8", Data: text}, nil
}

// WatchOrder implements the service.
func (s *shop) WatchOrder(in *ordersv1.WatchOrderRequest, stream grpc.ServerStreamingServer[ordersv1.OrderEvent]) error {
	s.mu.Lock()
	_, err := s.find(in.GetId())
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for n := range max(in.GetEvents(), 1) {
		if err := stream.Send(&ordersv1.OrderEvent{Number: n + 1, Text: "order " + in.GetId() + " was looked at"}); err != nil {
			return err
		}
	}
	return nil
}

// ImportOrders implements the service.
func (s *shop) ImportOrders(stream grpc.ClientStreamingServer[ordersv1.CreateOrderRequest, ordersv1.ImportOrdersResponse]) error {
	out := &ordersv1.ImportOrdersResponse{}
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(out)
		}
		if err != nil {
			return err
		}
		if _, err := s.CreateOrder(stream.Context(), in); err != nil {
			return err
		}
		out.Imported++
	}
}

// Support implements the service.
func (s *shop) Support(stream grpc.BidiStreamingServer[ordersv1.SupportMessage, ordersv1.SupportMessage]) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&ordersv1.SupportMessage{Text: "you said: " + in.GetText()}); err != nil {
			return err
		}
	}
}
