package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/pithead/pithead/test/freeport"
)

// backend is a service behind the gateway. What it answers is asked for by the
// last segment of the path:
//
//	hold      waits for `release`
//	hang      waits until the request is broken off
//	abort     breaks off in the middle of the answer
//	sse       three events, each but the first after a `release`
//	echo      sends back what comes, as it comes; a WebSocket as well
//	trailers  announces a trailer and sends two, as gRPC does
//	NNN       answers with this status
//	healthz   answers with the status that `health` has set
//
// Everything else is answered with the name, the request line, the headers in
// order and the body.
type backend struct {
	name     string
	addr     string
	h2c      bool
	pair     string       // path of certificate and key less .pem and .key; "" is without TLS
	server   *http.Server // nil while it is down
	served   chan struct{}
	health   atomic.Int64
	requests atomic.Int64
	turn     chan struct{}
}

func startBackend(s *script, args []string) (output, error) {
	flags := flag.NewFlagSet("backend", flag.ContinueOnError)
	h2c := flags.Bool("h2c", false, "")
	pair := flags.String("tls", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
		return output{}, errUsage
	}
	name := flags.Arg(0)
	b, ok := s.backends[name]
	if !ok {
		b = &backend{name: name, addr: freeAddress(), h2c: *h2c, turn: make(chan struct{})}
		if *pair != "" {
			b.pair = s.MkAbs(*pair)
		}
		b.health.Store(http.StatusOK)
		s.backends[name] = b
	}
	if err := b.listen(); err != nil {
		return output{}, err
	}
	variable := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	if flags.NArg() > 1 {
		variable = flags.Arg(1)
	}
	s.set(variable, b.addr)
	return output{}, nil
}

// discard takes what net/http says of handshakes that a script makes fail.
var discard = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)

func (b *backend) listen() error {
	if b.server != nil {
		return fmt.Errorf("backend %s is running", b.name)
	}
	l, err := freeport.Listen(b.addr)
	if err != nil {
		return err
	}
	b.addr = l.Addr().String()
	var protocols http.Protocols
	protocols.SetHTTP1(!b.h2c)
	protocols.SetHTTP2(b.pair != "")
	protocols.SetUnencryptedHTTP2(b.h2c)
	server, served := &http.Server{Handler: b, Protocols: &protocols, ReadHeaderTimeout: patience, ErrorLog: discard}, make(chan struct{})
	go func() {
		defer close(served)
		if b.pair != "" {
			_ = server.ServeTLS(l, b.pair+".pem", b.pair+".key") // ends with close
			return
		}
		_ = server.Serve(l) // ends with close
	}()
	b.server, b.served = server, served
	return nil
}

func (b *backend) close() {
	if b.server != nil {
		_ = b.server.Close() // nobody waits for its answers any more
		<-b.served           // from here on connections are refused
		b.server = nil
	}
}

func (s *script) backend(args []string, n int) (*backend, error) {
	if len(args) != n {
		return nil, errUsage
	}
	b, ok := s.backends[args[0]]
	if !ok {
		return nil, fmt.Errorf("no backend %s", args[0])
	}
	return b, nil
}

func down(s *script, args []string) (output, error) {
	b, err := s.backend(args, 1)
	if err != nil {
		return output{}, err
	}
	b.close()
	return output{}, nil
}

func health(s *script, args []string) (output, error) {
	b, err := s.backend(args, 2)
	if err != nil {
		return output{}, err
	}
	status, err := strconv.Atoi(args[1])
	b.health.Store(int64(status))
	return output{}, err
}

func release(s *script, args []string) (output, error) {
	b, err := s.backend(args, 1)
	if err != nil {
		return output{}, err
	}
	select {
	case b.turn <- struct{}{}:
		return output{}, nil
	case <-time.After(patience):
		return output{}, errors.New("the backend holds no request")
	}
}

func got(s *script, args []string) (output, error) {
	b, err := s.backend(args, 2)
	if err != nil {
		return output{}, err
	}
	if n := strconv.FormatInt(b.requests.Load(), 10); n != args[1] {
		return output{}, fmt.Errorf("backend %s has had %s requests, want %s", b.name, n, args[1])
	}
	return output{}, nil
}

// ServeHTTP implements http.Handler.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if last == "healthz" {
		w.WriteHeader(int(b.health.Load()))
		return
	}
	b.requests.Add(1)
	switch status, _ := strconv.Atoi(last); {
	case last == "hold":
		if b.wait(r) {
			b.describe(w, r)
		}
	case last == "hang":
		<-r.Context().Done()
	case last == "abort":
		_, _ = io.WriteString(w, "the first half of ")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case last == "sse":
		b.events(w, r)
	case last == "echo" && r.Header.Get("Upgrade") != "":
		echoWebSocket(w, r)
	case last == "echo":
		echo(w, r)
	case last == "trailers":
		trailers(w)
	case len(last) == 3 && status >= 200:
		w.WriteHeader(status)
	default:
		b.describe(w, r)
	}
}

// wait waits for a release and is false when the request was broken off first.
func (b *backend) wait(r *http.Request) bool {
	select {
	case <-b.turn:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (b *backend) describe(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever sent half a body gets no answer
	}
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s %s\nHost: %s\n", b.name, r.Method, r.RequestURI, r.Host)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	if len(body) > 0 {
		fmt.Fprintf(w, "\n%s\n", body)
	}
}

func (b *backend) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 3 {
		if i > 0 && !b.wait(r) {
			return
		}
		fmt.Fprintf(w, "data: event %d\n\n", i+1)
		_ = http.NewResponseController(w).Flush()
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex() // HTTP/2 is so anyway
	_ = c.Flush()
	buf := make([]byte, 1024)
	for {
		n, err := r.Body.Read(buf)
		_, _ = w.Write(buf[:n])
		_ = c.Flush()
		if err != nil {
			return
		}
	}
}

func echoWebSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer c.CloseNow()
	for {
		kind, text, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, text) != nil {
			return
		}
	}
}

func trailers(w http.ResponseWriter) {
	w.Header().Set("Trailer", "Grpc-Status")
	w.Header().Set("Content-Type", "application/grpc")
	_, _ = io.WriteString(w, "message")
	w.Header().Set("Grpc-Status", "0")
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
}
