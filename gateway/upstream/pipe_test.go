package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
)

// piped makes a cluster in a synctest bubble whose connections are in memory
// and served by handle.
func piped(t *testing.T, handle func(net.Conn), change func(*Options)) *Cluster {
	t.Helper()
	c := start(t, at("10.0.0.1:80"), func(o *Options) {
		o.dial = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				handle(server)
			}()
			return client, nil
		}
		if change != nil {
			change(o)
		}
	})
	t.Cleanup(synctest.Wait) // before the cluster is closed, so that its connections have become idle
	return c
}

// pipeListener is a listener of connections in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: errors.New("connection refused")}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// h2 makes a cluster speak unencrypted HTTP/2 with handler, in memory.
func h2(handler http.HandlerFunc) func(*Options) {
	return func(o *Options) {
		o.Protocol = "h2c"
		o.dial = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			l := newPipeListener()
			s := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
			s.Protocols.SetUnencryptedHTTP2(true)
			s.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					l.Close()
				}
			}
			go func() { _ = s.Serve(l) }()
			l.conns <- server
			return client, nil
		}
	}
}
