package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/transcode"
)

const (
	// reflectPause is how often a reflection looks whether the endpoints have changed,
	// and the first wait after a failure.
	reflectPause = time.Second
	// reflectTimeout bounds one reflection.
	reflectTimeout = 10 * time.Second
	maxReflectWait = 30 * time.Second
)

// reflection keeps the descriptors that an upstream tells of itself. It outlives
// reloads, so that a route that changes does not wait for them again.
type reflection struct {
	refresh time.Duration
	log     *slog.Logger
	to      atomic.Pointer[gateway.Cluster] // that of the snapshot at work
	schema  atomic.Pointer[transcode.Schema]
	ready   chan struct{} // closed by the first answer

	begin  sync.Once
	cancel context.CancelFunc
	ctx    context.Context
	done   chan struct{}
}

// keptReflection finds or makes the reflection of an upstream.
func keptReflection(env Env, refresh time.Duration) (*reflection, error) {
	key := fmt.Sprintf("grpc_transcode/%s/%s", env.To.Name(), refresh)
	return keep.Get(env.Keep, key, func() (*reflection, error) {
		f := &reflection{refresh: refresh, log: env.Log, ready: make(chan struct{}), done: make(chan struct{})}
		f.ctx, f.cancel = context.WithCancel(context.Background())
		return f, nil
	})
}

// start begins to ask, once, and from now on asks to.
func (f *reflection) start(to gateway.Cluster) []<-chan struct{} {
	f.to.Store(&to)
	f.begin.Do(func() { go f.run() })
	return []<-chan struct{}{f.ready}
}

// Close ends the asking.
func (f *reflection) Close() error {
	f.cancel()
	f.begin.Do(func() { close(f.done) }) // it has never begun, and never will
	<-f.done
	return nil
}

// endpointsMark tells one set of endpoints from another.
func (f *reflection) endpointsMark() uint64 {
	if c, ok := (*f.to.Load()).(interface{ EndpointsMark() uint64 }); ok {
		return c.EndpointsMark()
	}
	return uint64((*f.to.Load()).Healthy(""))
}

func (f *reflection) run() {
	defer close(f.done)
	tick := time.NewTicker(reflectPause)
	defer tick.Stop()
	var mark uint64
	var next time.Time
	wait := reflectPause
	for {
		now, m := time.Now(), f.endpointsMark()
		if changed := m != mark; changed || !now.Before(next) {
			err := f.ask()
			switch {
			case f.ctx.Err() != nil:
				return
			case err == nil:
				mark, wait, next = m, reflectPause, now.Add(f.refresh)
			default:
				f.log.Warn("server reflection failed, the last descriptors stay in use", "upstream", (*f.to.Load()).Name(), "again_in", wait, "error", err)
				mark, next = m, now.Add(wait)
				wait = min(2*wait, maxReflectWait)
			}
		}
		select {
		case <-f.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *reflection) ask() error {
	ctx, cancel := context.WithTimeout(f.ctx, reflectTimeout)
	defer cancel()
	to := *f.to.Load()
	schema, err := transcode.Reflect(ctx, to, func(r *http.Request) *http.Request {
		return gateway.WithExchange(r, &gateway.Exchange{Request: r, Start: time.Now(), Scheme: "http", Upstream: to.Name(), Cluster: to})
	})
	if err != nil {
		return err
	}
	if f.schema.Swap(schema) == nil {
		close(f.ready)
	}
	return nil
}

// tables gives the table that requests use: one for ever, or one for each answer
// of a reflection.
type tables struct {
	doc     *transcode.Document
	opts    transcode.Options
	reflect *reflection // nil for descriptors from files
	log     *slog.Logger

	now   atomic.Pointer[boundTable]
	build sync.Mutex // one request binds anew, all others use what there is
}

// boundTable is what came of a schema. table is nil when nothing could come of it.
type boundTable struct {
	schema *transcode.Schema
	table  *transcode.Table
}

var errNotReflected = errors.New("the upstream has not told its descriptors yet")

// get is the table to use. It is on the hot path: two loads.
func (t *tables) get() (*transcode.Table, error) {
	bound := t.now.Load()
	if t.reflect == nil {
		return bound.table, nil
	}
	schema := t.reflect.schema.Load()
	if bound != nil && bound.schema == schema && bound.table != nil {
		return bound.table, nil
	}
	return t.bind(schema)
}

// bind makes the table of a new schema. When that fails the one before stays.
func (t *tables) bind(schema *transcode.Schema) (*transcode.Table, error) {
	if schema == nil {
		return nil, errNotReflected
	}
	t.build.Lock()
	defer t.build.Unlock()
	bound := t.now.Load()
	if bound == nil || bound.schema != schema {
		table, err := transcode.Bind(t.doc, schema, t.opts)
		if err != nil {
			t.log.Error("the descriptors of the upstream do not fit", "error", err)
			if bound != nil {
				table = bound.table
			}
		}
		bound = &boundTable{schema, table}
		t.now.Store(bound)
	}
	if bound.table == nil {
		return nil, errors.New("the descriptors of the upstream do not fit the document")
	}
	return bound.table, nil
}
