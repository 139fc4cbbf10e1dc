package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/pithead/pithead/gateway"
)

const (
	refreshTime  = 30 * time.Second
	maxRefreshes = 64 // at a time, of one cache
)

// refresh fetches a stale answer again while clients get it. One request for each is
// enough, and its client neither waits nor can end it.
func (m *cache) refresh(r *http.Request, x *gateway.Exchange, next http.Handler, a *cacheAsk) {
	if m.refreshes.Add(1) > maxRefreshes {
		m.refreshes.Add(-1)
		return
	}
	f, leads := m.store.Join(a.name, a.key)
	if !leads {
		m.refreshes.Add(-1)
		return
	}
	again := x.Again()
	ctx, cancel := context.WithTimeout(m.ctx, refreshTime)
	again.Start, again.Deadline = time.Now(), time.Now().Add(refreshTime)
	out := gateway.WithExchange(r.Clone(ctx), again)
	out.Body = http.NoBody
	again.Request = out
	go func() {
		defer m.refreshes.Add(-1)
		defer cancel()
		defer func() {
			p := recover()
			if err, ok := p.(error); p == nil || ok && errors.Is(err, http.ErrAbortHandler) {
				return // an answer that broke off; the next request tries again
			}
			m.env.Log.Error("panic while refreshing a cached answer", "id", again.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}()
		m.fetch(&nobody{header: make(http.Header)}, out, next, a, f)
	}()
}

// nobody is the client of an answer that is only to be stored.
type nobody struct{ header http.Header }

// Header implements http.ResponseWriter.
func (n *nobody) Header() http.Header { return n.header }

// WriteHeader implements http.ResponseWriter.
func (n *nobody) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (n *nobody) Write(p []byte) (int, error) { return len(p), nil }

// FlushError is for http.ResponseController.
func (n *nobody) FlushError() error { return nil }
