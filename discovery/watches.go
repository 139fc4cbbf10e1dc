package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// Watches lets upstreams that ask a registry the same question share the asking:
// the first of them begins a watch, all hear what it hears, and the last one to
// go ends it. What it has to log is logged once, without the name of an
// upstream; failures and skipped instances are told to each.
type Watches struct {
	log *slog.Logger

	mu   sync.Mutex
	open map[string]*sharedWatch // by question
}

// NewWatches makes an empty set of watches that log to log.
func NewWatches(log *slog.Logger) *Watches {
	return &Watches{log: log, open: make(map[string]*sharedWatch)}
}

// Len is the number of questions that are being asked now.
func (ws *Watches) Len() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.open)
}

// enter finds the watch that asks what s wants to know, or begins it.
func (ws *Watches) enter(s *sharedSource) *sharedWatch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.open[s.question]
	if w == nil || w.users == 0 {
		ctx, cancel := context.WithCancel(context.Background())
		next := &sharedWatch{cancel: cancel, ended: make(chan struct{})}
		go next.run(ctx, s, w)
		w, ws.open[s.question] = next, next
	}
	w.users++
	return w
}

// leave ends the watch with the last of its users, and waits for its end.
func (ws *Watches) leave(s *sharedSource, w *sharedWatch) {
	ws.mu.Lock()
	w.users--
	last := w.users == 0
	ws.mu.Unlock()
	if last {
		w.cancel()
		<-w.ended
	}
}

// forget makes the next one who asks begin anew.
func (ws *Watches) forget(question string, w *sharedWatch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.open[question] == w {
		delete(ws.open, question)
	}
}

// askingSource is a source whose registry others write to.
type askingSource interface {
	gateway.Source
	gateway.Foreign
}

// sharedSource is the part that one upstream has in a watch.
type sharedSource struct {
	askingSource // its own, at work if this upstream is the first to ask

	question  string
	env       Env
	running   atomic.Pointer[sharedWatch] // that the source of its own is at work for
	confirmed atomic.Int64                // when the set that is being published was confirmed, in Unix nanoseconds
}

// share makes a source that shares its watch with those of the same question
// among env.Watches. A question is all that decides what a source publishes. The
// source that build makes speaks for all who share it.
func share[S askingSource](env Env, question string, build func(Env) (S, error)) (gateway.Source, error) {
	if env.Watches == nil {
		log := env.Log
		if log == nil {
			log = slog.New(slog.DiscardHandler)
		}
		env.Watches = NewWatches(log)
	}
	s := &sharedSource{question: question, env: env}
	inner, err := build(Env{
		Upstream: env.Upstream, Dir: env.Dir, Log: env.Watches.log,
		Failed:  func(err error) { s.running.Load().failed(err) },
		Skipped: func(n int) { s.running.Load().skip(n) },
	})
	if err != nil {
		return nil, err
	}
	s.askingSource = inner
	return s, nil
}

// Confirmed implements gateway.Dated.
func (s *sharedSource) Confirmed() time.Time { return time.Unix(0, s.confirmed.Load()) }

// Watch implements gateway.Source.
func (s *sharedSource) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	w := s.env.Watches.enter(s)
	defer s.env.Watches.leave(s, w)
	l := &listener{sharedSource: s, publish: publish}
	w.add(l)
	defer w.remove(l)
	select {
	case <-ctx.Done():
		return nil
	case <-w.ended:
		return w.err
	}
}

// sharedWatch is one Watch of a source on behalf of several.
type sharedWatch struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // why it ended; not before that
	users  int   // guarded by Watches.mu

	mu        sync.Mutex // held while listeners are told, so that they hear all in order
	listeners []*listener
	known     bool // there is a set
	targets   []gateway.Target
	confirmed time.Time
	counted   bool // there is a number of skipped instances
	skipped   int
}

type listener struct {
	*sharedSource
	publish func([]gateway.Target)
}

// run asks until ctx ends, by the source of s, after the watch before it with
// the same question has ended. A panic must not take the process along.
func (w *sharedWatch) run(ctx context.Context, s *sharedSource, before *sharedWatch) {
	defer close(w.ended)
	defer s.env.Watches.forget(s.question, w)
	defer func() {
		if v := recover(); v != nil {
			w.err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if before != nil {
		<-before.ended
	}
	s.running.Store(w)
	w.err = s.askingSource.Watch(ctx, func(targets []gateway.Target) { w.publish(s.askingSource, targets) })
}

// add tells l what is known, and from then on what is new.
func (w *sharedWatch) add(l *listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, l)
	if w.counted && l.env.Skipped != nil {
		l.env.Skipped(w.skipped)
	}
	if w.known {
		l.hear(w.targets, w.confirmed)
	}
}

func (w *sharedWatch) remove(l *listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = slices.DeleteFunc(w.listeners, func(other *listener) bool { return other == l })
}

func (w *sharedWatch) publish(source gateway.Source, targets []gateway.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known, w.targets, w.confirmed = true, targets, time.Now()
	if dated, ok := source.(gateway.Dated); ok {
		w.confirmed = dated.Confirmed()
	}
	for _, l := range w.listeners {
		l.hear(targets, w.confirmed)
	}
}

// hear publishes a set that l may do with as it likes.
func (l *listener) hear(targets []gateway.Target, confirmed time.Time) {
	l.confirmed.Store(confirmed.UnixNano())
	l.publish(slices.Clone(targets))
}

func (w *sharedWatch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.listeners {
		if l.env.Failed != nil {
			l.env.Failed(err)
		}
	}
}

func (w *sharedWatch) skip(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counted, w.skipped = true, n
	for _, l := range w.listeners {
		if l.env.Skipped != nil {
			l.env.Skipped(n)
		}
	}
}
