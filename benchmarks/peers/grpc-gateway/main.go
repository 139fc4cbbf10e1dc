// Command grpc-gateway is the peer of the benchmark of transcoding: a gateway of
// the code that grpc-gateway generates, and the gRPC service behind it.
package main

//go:generate go run ./generate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pithead/pithead/benchmarks/peers/grpc-gateway/orderspb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "service":
		return serve(ctx, args[1])
	case len(args) == 3 && args[0] == "gateway":
		return serveGateway(ctx, args[1], args[2])
	}
	return errors.New("grpc-gateway service ADDRESS, or gateway ADDRESS SERVICE")
}

// orders answers with what it was sent.
type orders struct {
	orderspb.UnimplementedOrdersServer
}

// Echo implements the service.
func (orders) Echo(_ context.Context, in *orderspb.Order) (*orderspb.Order, error) { return in, nil }

func serve(ctx context.Context, address string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	orderspb.RegisterOrdersServer(s, orders{})
	defer context.AfterFunc(ctx, s.Stop)()
	return s.Serve(l)
}

// serveGateway has two settings that are not the defaults: it writes the
// length of answers, without which Go's server sends long ones in chunks, and
// fields that have no value are left out, as Pithead leaves them out. Both spare it work.
func serveGateway(ctx context.Context, address, service string) error {
	conn, err := grpc.NewClient(service, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the program ends
	mux := runtime.NewServeMux(
		runtime.WithWriteContentLength(),
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{Marshaler: &runtime.JSONPb{}}),
	)
	if err := orderspb.RegisterOrdersHandler(ctx, mux, conn); err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })() // it has nothing to lose
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
