package demo

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// faultPath is where a service is told to fail.
const faultPath = "/-/fault"

// crash is what ends a service at once, with all that is under way.
const crash = "crash"

// faults are the ways in which a service can do its work, or fail at it.
var faults = map[string]func(s *Service, wait time.Duration, w http.ResponseWriter, r *http.Request){
	"ok": func(s *Service, _ time.Duration, w http.ResponseWriter, r *http.Request) { s.answer(w, r) },
	"error": func(_ *Service, _ time.Duration, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	},
	"slow": func(s *Service, wait time.Duration, w http.ResponseWriter, r *http.Request) {
		if pause(r, wait) {
			s.answer(w, r)
		}
	},
	"hang": func(_ *Service, _ time.Duration, _ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http notices that a client has left only behind its body
		<-r.Context().Done()
	},
	"reset": func(_ *Service, _ time.Duration, w http.ResponseWriter, _ *http.Request) { reset(w) },
	"drip":  drip,
	"cut":   cut,
}

// fault is what a service does with each request from now on.
type fault struct {
	kind string
	wait time.Duration
}

// parseFault reads what a service is told: `hang`, or `slow 300ms`.
func parseFault(text string) (*fault, error) {
	kind, wait, timed := strings.Cut(strings.TrimSpace(text), " ")
	f := &fault{kind, time.Second}
	if faults[kind] == nil {
		return nil, fmt.Errorf("unknown fault %q; say ok, error, slow, hang, drip, cut, reset or crash", kind)
	}
	if !timed {
		return f, nil
	}
	if kind != "slow" && kind != "drip" {
		return nil, fmt.Errorf("%s takes no time; slow and drip do", kind)
	}
	var err error
	if f.wait, err = time.ParseDuration(wait); err != nil || f.wait <= 0 {
		return nil, fmt.Errorf("%q is not a time such as 300ms", wait)
	}
	return f, nil
}

// tell makes the service fail, or work again.
func (s *Service) tell(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(io.LimitReader(r.Body, 100))
	if err != nil {
		return // the client is gone
	}
	if strings.TrimSpace(string(text)) == crash {
		_ = s.server.Close() // what ends a crash is no matter
		return
	}
	f, err := parseFault(string(text))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.fault.Store(f)
	w.WriteHeader(http.StatusNoContent)
}

// pause waits, and says whether the client has waited too.
func pause(r *http.Request, wait time.Duration) bool {
	select {
	case <-time.After(wait):
		return true
	case <-r.Context().Done():
		return false
	}
}

// drip sends a byte at a time.
func drip(s *Service, wait time.Duration, w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w)
	for _, b := range []byte(s.text(r)) {
		if _, err := w.Write([]byte{b}); err != nil || flush.Flush() != nil || !pause(r, wait) {
			return
		}
	}
}

// cut ends the connection in the middle of an answer.
func cut(s *Service, _ time.Duration, w http.ResponseWriter, r *http.Request) {
	text := s.text(r)
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	_, _ = io.WriteString(w, text[:len(text)/2]) // whether it arrives is no matter: the connection ends
	_ = http.NewResponseController(w).Flush()
	reset(w)
}

// reset ends the connection as the kernel does for a process that has died with
// data unread: by RST, without an end that could be taken for one.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream alone is reset
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
