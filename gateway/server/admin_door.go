package server

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
)

// adminDoor is the admin listener. It opens before the others and closes after
// them: how the process is doing is asked most at its beginning and its end.
type adminDoor struct {
	handler atomic.Pointer[http.Handler]
	server  *http.Server
	served  chan struct{}
}

// adminHandler makes the admin handler for a configuration; nil without admin.
func (s *Server) adminHandler(c *config.Config) (http.Handler, error) {
	if s.opt.Admin == nil {
		return nil, nil
	}
	h, err := s.opt.Admin(s, c)
	if err != nil {
		return nil, c.Errorf(&c.Admin, "%w", err)
	}
	return h, nil
}

// openAdmin binds the admin address, once.
func (s *Server) openAdmin(c *config.Config, h http.Handler) error {
	if h == nil || s.admin != nil {
		return nil
	}
	ln, err := s.opt.ListenAdmin(c.Admin.Address)
	if err != nil {
		return c.Errorf(&c.Admin.Address, "%w", err)
	}
	a := &adminDoor{served: make(chan struct{})}
	a.use(h)
	a.server = newHTTPServer(&config.Listener{
		Protocols: []string{"h1"},
		Limits:    config.Limits{HeaderBytes: 16 << 10},
		Timeouts:  config.Timeouts{Header: 10 * time.Second, Idle: time.Minute},
	}, s.log)
	a.server.ReadTimeout = 30 * time.Second // nothing here is a stream
	a.server.Handler = a.serve(s)
	go func() {
		defer close(a.served)
		_ = a.server.Serve(ln) // ends with close
	}()
	s.admin = a
	return nil
}

// use makes h the handler from now on, so that a reload can change the token.
func (a *adminDoor) use(h http.Handler) { a.handler.Store(&h) }

// serve runs the current handler; a panic in it costs one answer.
func (a *adminDoor) serve(s *Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil && !aborted(p) {
				s.metrics.Panic()
				s.log.Error("panic in the admin listener", "path", r.URL.Path, "panic", fmt.Sprint(p))
				gateway.Fail(w, r, &gateway.Error{Status: http.StatusInternalServerError, Reason: "panic", Msg: "internal error"})
			}
		}()
		(*a.handler.Load()).ServeHTTP(w, r)
	}
}

func (a *adminDoor) close() {
	_ = a.server.Close() // scrapes in flight are cut: the process ends now
	<-a.served
}
