package server

import (
	"context"
	"time"
)

// drain is the order of the end. The load balancer in front hears of it first,
// by readiness, while everything still works; then no new connections, then no
// new requests on old ones, then what is left gets the grace. The admin
// listener closes last.
func (s *Server) drain() {
	g := s.current.Load()
	order := g.config.Shutdown
	s.draining.Store(true)
	notifyStopping()
	s.log.Info("shutting down", "delay", order.Delay, "lame_duck", order.LameDuck, "grace", order.Grace)
	s.pause(order.Delay)

	// The fronts that a reload has retired end with the others.
	grace := time.AfterFunc(order.LameDuck+order.Grace, s.cut)
	defer grace.Stop()
	stop := make(chan struct{})
	go func() {
		select {
		case <-s.hurry:
			s.cut()
		case <-stop:
		}
	}()
	defer close(stop)

	s.closeDoors(s.life, order.LameDuck)
	inTime := s.life.Err() == nil
	s.finishWork()
	s.end(g)
	if s.admin != nil {
		s.admin.close()
	}
	s.log.Info("shut down", "drained", inTime)
}

// pause waits unless somebody hurries.
func (s *Server) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.hurry:
	}
}

// finishWork waits for retired fronts and generations. They end by themselves
// with s.life; a handler that ignores the end of its connection is left behind
// when the process exits.
func (s *Server) finishWork() {
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-s.life.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*lastWords)
	defer cancel()
	select {
	case <-done:
	case <-ctx.Done():
		s.log.Warn("some requests did not end when their connections were closed")
	}
}
