package gatewayapi_test

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// request is what a backend got.
type request struct {
	Backend string
	Proto   string
	Method  string
	Target  string
	Host    string
	Header  http.Header
}

// echo is a backend that answers with what it got. The query of a request can ask
// for more: `wait` for an answer that comes only when the test releases it or the
// gateway gives up, `hang&times=2&key=a` for none to the first two requests with
// the key, and `status=500&times=2&key=a` for that status in answer to them.
type echo struct {
	addr    string
	stop    func()
	name    string
	release chan struct{}
	seen    chan request

	mu    sync.Mutex
	times map[string]int // by key
}

func newEcho(t *testing.T, name string) *echo {
	t.Helper()
	e := &echo{name: name, release: make(chan struct{}), seen: make(chan request, 1000), times: make(map[string]int)}
	s := httptest.NewUnstartedServer(e)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	e.addr, e.stop = s.Listener.Addr().String(), s.Close
	return e
}

// ServeHTTP implements http.Handler.
func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // what is not read to its end is not mirrored
	got := request{e.name, r.Proto, r.Method, r.RequestURI, r.Host, r.Header}
	e.seen <- got
	h := w.Header()
	h.Set("X-Header-Set", "of the backend")
	h.Set("X-Header-Add", "of the backend")
	h.Set("X-Header-Remove", "of the backend")
	if r.ProtoMajor == 2 && gateway.IsGRPC(r) {
		e.serveGRPC(w)
		return
	}
	query := r.URL.Query()
	if query.Has("hang") && e.fails(query.Get("key"), query.Get("times")) {
		<-r.Context().Done()
		return
	}
	if query.Has("wait") {
		select {
		case <-e.release:
		case <-r.Context().Done():
			return
		}
	}
	h.Set("X-Echo", e.name)
	if status, err := strconv.Atoi(query.Get("status")); err == nil && e.fails(query.Get("key"), query.Get("times")) {
		w.WriteHeader(status)
	}
	_ = json.NewEncoder(w).Encode(got) // the client may have left
}

// fails counts the requests with a key, and says whether this one is among the
// first ones.
func (e *echo) fails(key, times string) bool {
	limit, _ := strconv.Atoi(times)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.times[key]++
	return e.times[key] <= limit
}

func (e *echo) count(key string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.times[key]
}

// serveGRPC answers a call with one message, the name of the backend.
func (e *echo) serveGRPC(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	message := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(e.name))), e.name...)
	_, _ = w.Write(message)
	w.Header().Set("Grpc-Status", "0")
}
