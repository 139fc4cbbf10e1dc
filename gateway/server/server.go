package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/anatomy"
	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/overload"
)

// Options are what a Server needs from outside.
type Options struct {
	// Path is the process file of the configuration.
	Path    string
	Metrics *obs.Metrics
	Log     *slog.Logger

	// Admin makes the handler of the admin listener, at the start and for each
	// new configuration. An error refuses the configuration. Without Admin there
	// is no admin listener.
	Admin func(s *Server, c *config.Config) (http.Handler, error)
	// ListenAdmin binds the admin address, which may be a Unix socket. Required with Admin.
	ListenAdmin func(address string) (net.Listener, error)
	// Secrets opens the sealed values of the configuration. Without it they are mistakes.
	Secrets config.Opening
	// Serving is called once, when the first configuration is in use. May be nil.
	Serving func(s *Server)
}

// Server is the running gateway.
type Server struct {
	opt      Options
	log      *slog.Logger
	metrics  *obs.Metrics
	pool     *keep.Pool
	kernel   *anatomy.Kernel
	budget   *budget
	pressure *overload.Manager
	spare    gateway.Spare
	memory   memoryGoal

	compile  func(*config.Config) (snapshot, error) // compileWhole
	fsnotify func() (*fsnotify.Watcher, error)      // fsnotify.NewWatcher

	current atomic.Pointer[generation]
	admin   *adminDoor
	doors   map[string]*door // by doorKey; owned by whoever loads
	caps    map[string]*caps // by listener; owned by whoever loads

	life   context.Context // ends when the grace of the shutdown ends
	cut    context.CancelFunc
	hurry  chan struct{}
	hasten sync.Once
	work   sync.WaitGroup // fronts that serve or retire, generations that end

	reloads  reloads
	watched  watched
	draining atomic.Bool

	mu      sync.Mutex
	status  Status
	history []Generation // the newest last
}

// Status says what is being served and how the last load went.
type Status struct {
	Generation uint64    // 0 until the first configuration is in use
	Loaded     time.Time // when the generation came into use
	LoadedBy   string    // what asked for it
	Routes     int
	Err        error     // why the last load was refused; nil when it was not
	Failed     time.Time // when it was refused
	Started    time.Time // when Run was called
	Trigger    string    // what asked for the last load
	Tried      time.Time // when the last load ended
	Files      []string  // that the generation was read from
}

// New makes a server that does nothing yet.
func New(opt Options) *Server {
	s := &Server{
		opt: opt, log: opt.Log, metrics: opt.Metrics, pool: keep.NewPool(), kernel: anatomy.NewKernel(), budget: newBudget(), pressure: overload.New(opt.Log),
		doors: make(map[string]*door), caps: make(map[string]*caps), hurry: make(chan struct{}), fsnotify: fsnotify.NewWatcher,
	}
	s.life, s.cut = context.WithCancel(context.Background())
	s.watched.changed = make(chan struct{}, 1)
	s.compile = s.compileWhole
	return s
}

func (s *Server) compileWhole(c *config.Config) (snapshot, error) {
	snap, err := build.Compile(c, s.buildEnv())
	if err != nil {
		return nil, err // a nil *Snapshot must not become a snapshot
	}
	return snap, nil
}

func (s *Server) buildEnv() build.Env {
	return build.Env{Pool: s.pool, Log: s.log, Metrics: s.metrics, Kernel: s.kernel, Old: s.Snapshot()}
}

// Run loads the configuration, serves until ctx ends, and drains. It returns an
// error only when the configuration or an address will not do. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	defer s.cut()
	loading, stop := context.WithCancel(ctx)
	defer stop()
	s.mu.Lock()
	s.status.Started = time.Now()
	s.mu.Unlock()
	s.reloads.open(loading, s.load, s.read)
	if err := s.reloads.ask(context.WithoutCancel(ctx), TriggerStart, nil); err != nil {
		s.reloads.close()
		s.abandon()
		if errors.Is(err, errStopping) {
			return nil
		}
		return err
	}
	notifyReady(s.Status())
	if s.opt.Serving != nil {
		s.opt.Serving(s)
	}
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(loading) })
	watching.Go(func() { s.pressure.Run(loading) })
	defer s.metrics.WatchOverload(s.overloadState)()
	defer s.memory.aim(0)
	<-ctx.Done()
	stop()
	watching.Wait()
	s.reloads.close()
	s.drain()
	return nil
}

// abandon takes down what a failed start had put up.
func (s *Server) abandon() {
	s.cut()
	s.closeDoors(s.life, 0)
	s.work.Wait()
	if s.admin != nil {
		s.admin.close()
	}
	if g := s.current.Load(); g != nil {
		s.end(g)
	}
}

// Hurry shortens a shutdown: no more delays, and what still runs is cut off.
func (s *Server) Hurry() { s.hasten.Do(func() { close(s.hurry) }) }

// Labels are what the labels of connections stand for.
func (s *Server) Labels() []anatomy.Named { return s.kernel.Labels() }

// Status is the present state.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Ready says whether traffic should be sent here, and why not. If it should, why is
// what does not work all the same.
func (s *Server) Ready() (ok bool, why []string) {
	g := s.current.Load()
	switch {
	case s.draining.Load():
		return false, []string{"shutting down"}
	case g == nil:
		return false, []string{"starting"}
	}
	for _, name := range g.snap.Ready() {
		why = append(why, "upstream "+name+" has no healthy endpoint")
	}
	lacking, wait := g.snap.Lacking()
	ok = len(why) == 0 && !wait
	for _, what := range lacking {
		why = append(why, what+" are not at hand")
	}
	return ok, why
}

// Snapshot is the generation in use; nil before the first.
func (s *Server) Snapshot() *build.Snapshot {
	g := s.current.Load()
	if g == nil {
		return nil
	}
	snap, _ := g.snap.(*build.Snapshot)
	return snap
}

// ReopenLog opens the access log again under its path, after a rotation.
func (s *Server) ReopenLog() error {
	if g := s.current.Load(); g != nil {
		return g.log.Reopen()
	}
	return nil
}

// Addrs are the bound addresses by listener, the first one of several, for a
// configuration that leaves the choice of a port to the system.
func (s *Server) Addrs() map[string]net.Addr {
	if g := s.current.Load(); g != nil {
		return g.addrs
	}
	return nil
}
