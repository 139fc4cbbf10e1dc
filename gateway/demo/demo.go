// Package demo is what `pithead demo` shows: a few small services on free
// loopback ports, so that a newcomer has something to route to.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Service is one instance of the demo service `orders`.
type Service struct {
	Name string // "stable-1"
	Arm  string // "stable" or "canary"
	Addr string // host:port

	server *http.Server
	done   chan error
	fault  atomic.Pointer[fault]
}

// Env is the name of the variable that tells the demo configuration where the
// service is.
func (s *Service) Env() string {
	return "DEMO_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Start starts two stable instances and one canary. It stops those already
// started when one fails.
func Start() ([]*Service, error) {
	var all []*Service
	for _, s := range []*Service{{Name: "stable-1", Arm: "stable"}, {Name: "stable-2", Arm: "stable"}, {Name: "canary-1", Arm: "canary"}} {
		if err := s.start("127.0.0.1:0", false); err != nil {
			return nil, errors.Join(fmt.Errorf("start demo service %s: %w", s.Name, err), Stop(all))
		}
		all = append(all, s)
	}
	return all, nil
}

// Stop ends the services.
func Stop(services []*Service) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var errs []error
	for _, s := range services {
		if err := s.server.Shutdown(ctx); err != nil {
			errs = append(errs, s.server.Close())
		}
		if err := <-s.done; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Run serves one instance on address until ctx ends. ready is told where, once
// it takes requests. One that is breakable fails when POST /-/fault says so.
func Run(ctx context.Context, name, arm, address string, breakable bool, ready func(addr string)) error {
	s := &Service{Name: name, Arm: arm}
	if err := s.start(address, breakable); err != nil {
		return err
	}
	ready(s.Addr)
	select {
	case <-ctx.Done():
		return Stop([]*Service{s})
	case err := <-s.done:
		if errors.Is(err, http.ErrServerClosed) {
			return errors.New("crashed, as it was told to")
		}
		return err
	}
}

func (s *Service) start(address string, breakable bool) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/", s.serve)
	if breakable {
		mux.HandleFunc("POST "+faultPath, s.tell)
	}
	s.Addr, s.done = l.Addr().String(), make(chan error, 1)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { s.done <- s.server.Serve(l) }()
	return nil
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if f := s.fault.Load(); f != nil {
		faults[f.kind](s, f.wait, w, r)
		return
	}
	s.answer(w, r)
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, s.text(r)) // a client that is gone misses nothing
}

func (s *Service) text(r *http.Request) string {
	return fmt.Sprintf("orders, arm %s\n%s %s, answered by %s\n", s.Arm, r.Method, r.URL.Path, s.Name)
}
