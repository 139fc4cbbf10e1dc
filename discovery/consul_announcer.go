package discovery

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	announceTick  = time.Second     // how soon a change of the configuration or of readiness is told
	announceLimit = 5 * time.Second // for one call
	farewellLimit = time.Second     // for taking the entry out: a shutdown does not wait for longer
)

// Announcer keeps the gateway's entry in Consul as the configuration in use
// wants it.
type Announcer struct {
	// Current is the registration that the configuration in use wants; nil is none.
	// It is the same one as long as its settings are.
	Current func() *Registration
	// Ready says whether traffic should be sent to this gateway, and why not.
	Ready func() (ok bool, why []string)
	Log   *slog.Logger
}

// announcement is the state of one Run.
type announcement struct {
	*Announcer
	entry   *Registration // in the catalogue, or to be made; nil is neither
	made    bool          // the agent has confirmed the entry
	status  string        // that the agent knows
	next    time.Time     // of the next call
	backoff time.Duration
	failing bool // the last call failed, and that has been logged
}

// Run announces until ctx ends. Then it takes the entry out, in a second at
// most. Consul being away delays neither a start nor a shutdown.
func (a *Announcer) Run(ctx context.Context) {
	s := &announcement{Announcer: a, backoff: consulMinBackoff}
	for ctx.Err() == nil {
		s.follow(ctx)
		s.tell(ctx)
		pause(ctx, announceTick)
	}
	s.leave(context.WithoutCancel(ctx))
}

// follow takes over what the configuration wants.
func (s *announcement) follow(ctx context.Context) {
	want := s.Current()
	switch {
	case want == s.entry:
		return
	case want == nil || s.entry != nil && want.home != s.entry.home:
		s.leave(ctx) // the new entry would not replace it
	case s.entry != nil:
		s.entry.client.transport.CloseIdleConnections()
	}
	s.entry, s.made, s.next, s.backoff = want, false, time.Time{}, consulMinBackoff
}

// tell makes the entry or reports on it, when it is time.
func (s *announcement) tell(ctx context.Context) {
	if s.entry == nil {
		return
	}
	status, note := api.HealthPassing, "ready"
	if ok, why := s.Ready(); !ok {
		status, note = api.HealthCritical, "not ready: "+strings.Join(why, "; ")
	}
	changed := s.made && status != s.status && !s.failing
	if time.Now().Before(s.next) && !changed {
		return
	}
	call, cancel := context.WithTimeout(ctx, announceLimit)
	defer cancel()
	made, err := s.made, error(nil)
	if made {
		var forgotten bool
		if forgotten, err = s.entry.report(call, status, note); forgotten {
			s.Log.Warn("consul has lost the registration, it is made again", "id", s.entry.entry.ID, "error", err)
			made = false
		}
	}
	if !made {
		err = s.entry.register(call, status, note)
	}
	s.made = made || err == nil
	if err != nil {
		s.failed(ctx, err)
		return
	}
	if !made || s.failing {
		s.Log.Info("registered in consul", "service", s.entry.entry.Name, "id", s.entry.entry.ID, "status", status)
	}
	s.status, s.failing, s.backoff = status, false, consulMinBackoff
	s.next = time.Now().Add(s.entry.ttl / 3)
}

func (s *announcement) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // it is the shutdown that ended the call
	}
	if !s.failing {
		s.Log.Warn("registration in consul fails, it will be tried again", "id", s.entry.entry.ID, "error", err)
	}
	s.failing = true
	s.next = time.Now().Add(s.backoff/2 + rand.N(s.backoff/2))
	s.backoff = min(2*s.backoff, consulMaxBackoff)
}

// leave takes the entry out of the catalogue, even one that only may be there.
func (s *announcement) leave(ctx context.Context) {
	if s.entry == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, farewellLimit)
	defer cancel()
	if err := s.entry.deregister(ctx); err != nil {
		s.Log.Warn("registration in consul could not be taken out, it ends by itself", "id", s.entry.entry.ID, "error", err)
	} else {
		s.Log.Info("registration in consul taken out", "id", s.entry.entry.ID)
	}
	s.entry = nil
}
