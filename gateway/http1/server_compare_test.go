package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// heard is what a client makes of the answers of a server, all that tells.
type heard struct {
	Code    int
	Proto   string
	Header  http.Header
	Trailer http.Header
	Length  int64
	Coding  []string
	Close   bool
	Body    string
	Broken  bool // it was cut
}

// hearAll reads all answers to requests of a method, the interim ones, too.
func hearAll(got []byte, method string) (all []heard) {
	in := bufio.NewReader(bytes.NewReader(got))
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			if _, end := in.Peek(1); end == nil || len(all) == 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
				all = append(all, heard{Body: err.Error()})
			}
			return all
		}
		body, err := io.ReadAll(resp.Body)
		all = append(all, heard{
			resp.StatusCode, resp.Proto, resp.Header, resp.Trailer, resp.ContentLength,
			resp.TransferEncoding, resp.Close, string(body), err != nil,
		})
	}
}

// listenAll says something to a server over a real socket, and returns all that it says
// until it ends, or until it has answered what asks it to end.
func listenAll(t *testing.T, addr, words string) []byte {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say(t, c, words)
	got, _ := io.ReadAll(c) // a reset is an end, too
	return got
}

// levelAnswers takes away what the two do differently on purpose.
func levelAnswers(ours, theirs *heard) {
	for _, h := range []*heard{ours, theirs} {
		if len(h.Header["Date"]) == 1 && h.Header["Date"][0] != "mine" {
			h.Header["Date"] = []string{"now"}
		}
	}
	if ours.Header["Content-Type"] == nil { // it makes no guess: that is the upstream's to know
		delete(theirs.Header, "Content-Type")
	}
	if ours.Length > 0 && theirs.Length < 0 && ours.Body == "" && !ours.Broken { // it counts what HEAD leaves out, however much that is
		delete(ours.Header, "Content-Length")
		ours.Length = lengthUnknown
	}
	if theirs.Header["Connection"] == nil { // http.ReadResponse takes it away where it says close
		delete(ours.Header, "Connection")
	}
}

// TestLikeNetHTTP has everything that a handler may do, done on net/http and on the
// engine: clients must not see a difference but those of levelAnswers.
func TestLikeNetHTTP(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i, err := strconv.Atoi(r.URL.Path[1:]); err == nil {
			uses[i].handler(w, r)
		}
	})
	theirs, ours := startTheirs(t, h), startOurs(t, &Server{Handler: h, Panicked: func(*http.Request, any, []byte) {}})
	for i, use := range uses {
		for _, method := range []string{"GET", "POST", "HEAD"} {
			for _, version := range []string{"1.1", "1.0", "1.0\r\nConnection: keep-alive", "1.1\r\nConnection: close"} {
				if use.modern && strings.HasPrefix(version, "1.0") {
					continue
				}
				t.Run(use.name+", "+method+" "+strings.ReplaceAll(version, "\r\n", " "), func(t *testing.T) {
					words := " /" + strconv.Itoa(i) + " HTTP/" + version + "\r\nHost: a\r\n" + use.fields
					if method == "POST" {
						words += "Content-Length: 5\r\n\r\nhello"
					} else {
						words += "\r\n"
					}
					words = method + words + method + " /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
					want, got := hearAll(listenAll(t, theirs, words), method), hearAll(listenAll(t, ours, words), method)
					for i := range min(len(want), len(got)) {
						levelAnswers(&got[i], &want[i])
						if use.level != nil {
							use.level(&got[i], &want[i])
						}
					}
					if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("-net/http +http1:\n%s", diff)
					}
				})
			}
		}
	}
}

func startTheirs(t *testing.T, h http.Handler) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String()
}

// startOurs serves all connections of a listener, and at the end waits for them.
func startOurs(t testing.TB, s *Server) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var work sync.WaitGroup
		defer work.Wait()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { s.Serve(c) })
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}
