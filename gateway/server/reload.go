package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
)

// What can ask for a load; label values of a metric.
const (
	TriggerStart  = "start"  // the process begins
	TriggerFile   = "file"   // a file has changed
	TriggerSignal = "signal" // SIGHUP
	TriggerAdmin  = "admin"  // the admin API, and so `pithead reload`
)

// fillWait is how long a new configuration waits for the endpoints of upstreams
// that are new in it.
const fillWait = 2 * time.Second

var errStopping = errors.New("shutting down")

// Reload reads the files again and replaces the configuration in use, all or
// nothing. It returns the generation in use afterwards. Calls during a load are
// answered together by one load that begins after it. The outcome is logged and
// counted here.
func (s *Server) Reload(ctx context.Context, trigger string) (generation uint64, err error) {
	err = s.reloads.ask(ctx, trigger, nil)
	return s.Status().Generation, err
}

// load is the one path by which a configuration comes into use.
func (s *Server) load(ctx context.Context, trigger string, r *reading) error {
	old := s.current.Load()
	if trigger == TriggerFile && s.watched.back(r) {
		s.report(trigger, old, nil) // an edit has been taken back
		return nil
	}
	if old != nil {
		notifyReloading()
		defer func() { notifyReady(s.Status()) }()
	}
	g, err := s.replace(ctx, trigger, r, old)
	if err != nil {
		s.report(trigger, old, err)
		return err
	}
	s.report(trigger, g, nil)
	return nil
}

// replace does the work of load.
func (s *Server) replace(ctx context.Context, trigger string, r *reading, old *generation) (*generation, error) {
	s.watched.tried(r.sum)
	if r.err != nil {
		return nil, r.err
	}
	c, err := s.parse(ctx, r.files)
	if err != nil {
		return nil, build.Mistakes(c, err, s.buildEnv())
	}
	sum := s.watched.follow(r.files, secondFiles(c), s.pathsOf(old))
	if err := s.acceptable(trigger, old, c); err != nil {
		return nil, err
	}
	g, err := s.newGeneration(c)
	if err != nil {
		return nil, err
	}
	g.files, g.trigger = r.files.Names(), trigger
	g.second = sumsOf(secondFiles(c))
	if old != nil {
		g.changes = config.Diff(old.config, c)
		g.changes.Files.Changed = append(g.changes.Files.Changed, changedSums(old.second, g.second)...)
	}
	if err := s.install(ctx, g, old); err != nil {
		s.end(g)
		return nil, err
	}
	c.Offer()
	s.watched.use(sum, r.files, secondFiles(c))
	if old != nil {
		s.work.Go(func() { s.endWhenUnused(old) })
	}
	return g, nil
}

// parse opens sealed values if there is somebody who can.
func (s *Server) parse(ctx context.Context, f *config.Files) (*config.Config, error) {
	if s.opt.Secrets == nil {
		return config.Parse(f)
	}
	return config.ParseOpened(ctx, f, s.opt.Secrets)
}

func (s *Server) pathsOf(g *generation) []string {
	if g == nil {
		return nil
	}
	return secondFiles(g.config)
}

// acceptable refuses changes that a running process does not make.
func (s *Server) acceptable(trigger string, old *generation, c *config.Config) error {
	if old == nil {
		return nil
	}
	if was := old.config.Admin.Address; was != c.Admin.Address {
		return c.Errorf(&c.Admin.Address, "the admin listener stays at %s until a restart", was)
	}
	if trigger == TriggerFile {
		return guardShrink(old.config, c)
	}
	return nil
}

// install binds what is new, starts the generation and makes it current. Up to
// the swap everything can be taken back.
func (s *Server) install(ctx context.Context, g, old *generation) error {
	admin, err := s.adminHandler(g.config)
	if err != nil {
		return err
	}
	listeners, err := s.plan(ctx, g.config)
	if err != nil {
		return err
	}
	if err := s.openAdmin(g.config, admin); err != nil {
		unbind(listeners)
		return err
	}
	g.snap.Start()
	waiting, cancel := context.WithTimeout(ctx, fillWait)
	empty := g.snap.Wait(waiting)
	cancel()
	if ctx.Err() != nil {
		unbind(listeners)
		return errStopping
	}
	if len(empty) > 0 {
		s.log.Warn("upstreams without endpoints", "upstreams", empty)
	}
	g.number = 1
	if old != nil {
		g.number = old.number + 1
	}
	g.addrs = addrsOf(listeners)
	g.count(s.metrics, old)
	s.current.Store(g)
	s.open(g, listeners)
	s.watchPressure(&g.config.Overload)
	if admin != nil {
		s.admin.use(admin)
	}
	s.retain(g.config)
	return nil
}

// retain lets the metrics forget routes and upstreams that are gone.
func (s *Server) retain(c *config.Config) {
	routes := make([]string, len(c.Routes))
	for i, r := range c.Routes {
		routes[i] = r.Name
	}
	s.metrics.Retain(routes, slices.Collect(maps.Keys(c.Upstreams)))
}

// report records the outcome of a load in status, metrics and log. The error of
// a start is for the caller of Run alone.
func (s *Server) report(trigger string, g *generation, err error) {
	now := time.Now()
	s.mu.Lock()
	fresh := g != nil && g.number != s.status.Generation
	mended := err == nil && s.status.Err != nil
	if fresh {
		s.status.Generation, s.status.Loaded, s.status.Routes = g.number, now, len(g.config.Routes)
		s.status.Files, s.status.LoadedBy = g.files, trigger
		s.remember(g, now)
	}
	s.status.Trigger, s.status.Tried = trigger, now
	if s.status.Err = err; err != nil {
		s.status.Failed = now
	}
	number, routes := s.status.Generation, s.status.Routes
	s.mu.Unlock()
	switch {
	case err == nil && !fresh && !mended:
		return
	case err != nil && trigger != TriggerStart:
		s.log.Error("configuration refused, the old one stays in use", "trigger", trigger, "generation", number, "error", err)
	case fresh:
		s.log.Info("configuration in use", "trigger", trigger, "generation", number, "routes", routes)
		for _, w := range g.config.Warnings {
			s.log.Warn("configuration should be mended", "warning", w)
		}
	case mended:
		s.log.Info("configuration is as before", "trigger", trigger, "generation", number)
	}
	s.metrics.ReloadDone(trigger, number, err, now)
}

// reloads lets one load run at a time and gathers the calls that come meanwhile.
type reloads struct {
	mu      sync.Mutex
	next    *batch
	running bool
	closed  bool
	work    sync.WaitGroup

	ctx  context.Context
	load func(ctx context.Context, trigger string, r *reading) error
	read func() *reading
}

// batch is the load that all callers since the last one wait for.
type batch struct {
	trigger string
	reading *reading // what the watcher has seen; nil reads when the load begins
	done    chan struct{}
	err     error
}

func (q *reloads) open(ctx context.Context, load func(context.Context, string, *reading) error, read func() *reading) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ctx, q.load, q.read = ctx, load, read
}

// close refuses further calls and waits for the load that runs.
func (q *reloads) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.work.Wait()
}

// ask joins the next load and waits for its end. An explicit wish counts more
// than the watcher's, because it may take routes away.
func (q *reloads) ask(ctx context.Context, trigger string, r *reading) error {
	q.mu.Lock()
	if q.closed || q.load == nil {
		q.mu.Unlock()
		return fmt.Errorf("reload: %w", errStopping)
	}
	if q.next == nil {
		q.next = &batch{trigger: trigger, reading: r, done: make(chan struct{})}
	} else if q.next.trigger != TriggerStart && (trigger != TriggerFile || q.next.trigger == TriggerFile) {
		q.next.trigger, q.next.reading = trigger, r
	}
	b := q.next
	if !q.running {
		q.running = true
		q.work.Go(q.run)
	}
	q.mu.Unlock()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *reloads) run() {
	for {
		q.mu.Lock()
		b := q.next
		q.next = nil
		if b == nil {
			q.running = false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		if b.reading == nil {
			b.reading = q.read()
		}
		b.err = q.load(q.ctx, b.trigger, b.reading)
		close(b.done)
	}
}
