package upstream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// call makes a gRPC request with one message.
func call(t *testing.T, p *gateway.Retry) (*http.Request, *gateway.Exchange) {
	t.Helper()
	r, x := request(t, "POST", nil)
	r.ProtoMajor, r.Proto = 2, "HTTP/2.0"
	r.Header.Set("Content-Type", "application/grpc")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("\x00\x00\x00\x00\x03abc")), -1
	x.Retry = p
	return r, x
}

func TestGRPCRetries(t *testing.T) {
	unavailable := func(p *gateway.Retry) { p.GRPC = []int{14} }
	trailersOnly := func(w http.ResponseWriter) { w.Header().Set("Grpc-Status", "14") }
	withMessage := func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "\x00\x00\x00\x00\x00")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "14")
	}
	f := func(name string, change func(*gateway.Retry), first func(http.ResponseWriter), attempts int) {
		t.Helper()
		bubble(t, name, func(t *testing.T) {
			var asked atomic.Int32
			c := piped(t, nil, h2(func(w http.ResponseWriter, r *http.Request) {
				if got, err := io.ReadAll(r.Body); len(got) != 8 || err != nil {
					t.Errorf("the service got %q, %v", got, err)
				}
				w.Header().Set("Content-Type", "application/grpc")
				if asked.Add(1) == 1 {
					first(w)
					return
				}
				w.Header().Set("Grpc-Status", "0")
			}))
			r, x := call(t, policyOf(change))
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = read(t, resp)
			if ok := resp.Header.Get("Grpc-Status") == "0"; x.Attempts != attempts || int(asked.Load()) != attempts || ok != (attempts == 2) {
				t.Errorf("%d attempts, %d arrived, status %q", x.Attempts, asked.Load(), resp.Header.Get("Grpc-Status"))
			}
			wantStats(t, c, uint64(attempts), 0)
		})
	}
	f("a status alone", unavailable, trailersOnly, 2)
	f("a status after a message", unavailable, withMessage, 1)
	f("another status", func(p *gateway.Retry) { p.GRPC = []int{8} }, trailersOnly, 1)
	f("no statuses", nil, trailersOnly, 1)
	f("HTTP status", unavailable, func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }, 1)
}

// For a stream the limit of an attempt begins with the end of the request: until
// then nobody can say whose turn it is.
func TestPerTryTimeoutOfStreams(t *testing.T) {
	bubble(t, "unary", func(t *testing.T) {
		var asked atomic.Int32
		c := piped(t, nil, h2(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if asked.Add(1) == 1 {
				<-r.Context().Done()
			}
		}))
		began := time.Now()
		r, x := call(t, policyOf(func(p *gateway.Retry) {
			p.PerTry, p.Methods, p.BackoffBase = time.Second, []string{"POST"}, 0
		}))
		r.Body = &slowly{5 * time.Second, []string{"\x00\x00\x00\x00\x03", "abc"}}
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = read(t, resp)
		took(t, began, 11*time.Second)
		if x.Attempts != 2 {
			t.Errorf("%d attempts", x.Attempts)
		}
	})
	bubble(t, "a client that says nothing", func(t *testing.T) {
		in, out := io.Pipe()
		c := piped(t, nil, h2(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
		began := time.Now()
		r, _ := call(t, policyOf(func(p *gateway.Retry) { p.PerTry = time.Second }))
		r.Body = in
		time.AfterFunc(time.Minute, func() { out.Close() })
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = read(t, resp)
		took(t, began, time.Minute)
	})
	bubble(t, "events", func(t *testing.T) {
		c := piped(t, hang(""), nil)
		began := time.Now()
		r, x := request(t, "GET", nil)
		r.Header.Set("Accept", "text/event-stream")
		x.Retry = policyOf(func(p *gateway.Retry) { p.Attempts, p.PerTry = 0, time.Second })
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_timeout", gateway.CauseUpstream)
		took(t, began, time.Second)
	})
	bubble(t, "events after the head", func(t *testing.T) {
		c := piped(t, respond("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1\r\n\r\nx"), nil)
		r, x := request(t, "GET", nil)
		x.Retry = policyOf(func(p *gateway.Retry) { p.PerTry = time.Second })
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if got, err := read(t, resp); got != "x" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

// A handshake that an endpoint has seen is not made again.
func TestUpgradesAreNotRetried(t *testing.T) {
	for _, first := range []string{answer(503), ""} {
		handle, asked := script(first, answer(200))
		c := start(t, at(listen(t, handle)), nil)
		r, x := request(t, "GET", nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		x.Retry = policyOf(nil)
		if resp, err := c.RoundTrip(r); err == nil {
			_, _ = read(t, resp)
		}
		if asked.Load() != 1 || x.Attempts != 1 {
			t.Errorf("%d attempts, %d arrived", x.Attempts, asked.Load())
		}
		wantStats(t, c, 1, map[string]uint64{"": 1}[first])
	}
}

// Only one attempt's Early Hints reach the client, whoever gives the answer.
func TestHintsComeOnce(t *testing.T) {
	const early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
	f := func(name, first, second string, hints int, status int) {
		t.Helper()
		bubble(t, name, func(t *testing.T) {
			handle, _ := script(first, second)
			c := piped(t, handle, nil)
			r, x := request(t, "GET", nil)
			got := 0
			trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == http.StatusEarlyHints && h.Get("Link") != "</a.css>" {
					t.Errorf("hints %v", h)
				}
				got++
				return nil
			}}
			r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
			x.Retry = policyOf(nil)
			resp, err := c.RoundTrip(r)
			if err != nil {
				if e := gateway.AsError(err); e.Status != status || !errors.Is(err, errHints) {
					t.Error(err)
				}
			} else if _, _ = read(t, resp); resp.StatusCode != status {
				t.Errorf("status %d", resp.StatusCode)
			}
			if got != hints {
				t.Errorf("%d interim answers, want %d", got, hints)
			}
		})
	}
	f("of the first attempt", early+early+answer(503), answer(200), 2, 200)
	f("of the second", answer(503), early+answer(200), 1, 200)
	f("of both", early+answer(503), early+early+answer(200), 1, 200)
	f("a flood of the second", early+answer(503), strings.Repeat(early, 6)+answer(200), 1, 502)
}

// Trailers of a request go with the attempt that is answered.
func TestTrailersAreSentAgain(t *testing.T) {
	var asked atomic.Int32
	trailers := make(chan string, 2)
	c := start(t, at(serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		trailers <- r.Trailer.Get("Sum")
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, nil)), nil)
	r, x := request(t, "PUT", nil)
	r.ContentLength, r.Trailer = -1, http.Header{"Sum": nil}
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("body"), &failingReader{given: true, err: io.EOF, tell: func(error) { r.Trailer["Sum"] = []string{"42"} }}))
	x.Retry = policyOf(nil)
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = read(t, resp)
	for range 2 {
		if got := <-trailers; got != "42" {
			t.Errorf("trailer %q", got)
		}
	}
}

// refuseStreams is an HTTP/2 endpoint that is too busy to look at a request.
func refuseStreams(conn net.Conn) {
	br := bufio.NewReader(conn)
	_, _ = br.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	frame := func(kind, flags byte, stream uint32, payload ...byte) {
		head := append([]byte{0, 0, byte(len(payload)), kind, flags}, binary.BigEndian.AppendUint32(nil, stream)...)
		_, _ = conn.Write(append(head, payload...))
	}
	frame(4, 0, 0) // SETTINGS
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(br, head); err != nil {
			return
		}
		_, _ = br.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2]))
		if head[3] == 0 && head[4]&1 != 0 { // DATA, END_STREAM
			frame(3, 0, binary.BigEndian.Uint32(head[5:]), 0, 0, 0, 7) // RST_STREAM, REFUSED_STREAM
		}
	}
}

// RFC 9113 section 8.7: a refused stream has not been processed, whatever its method.
func TestRefusedStreamsAreSentElsewhere(t *testing.T) {
	good := serve(t, echo, func(s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetUnencryptedHTTP2(true)
	})
	c := start(t, at(listen(t, refuseStreams), good), func(o *Options) { o.Protocol = "h2c" })
	for range 4 {
		r, x := request(t, "POST", nil)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("the whole body")), 14
		x.Retry = policyOf(nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := read(t, resp); got != "the whole body" || err != nil || x.Endpoint.Addr != good {
			t.Errorf("read %q, %v from %s", got, err, x.Endpoint.Addr)
		}
	}
	if got := counts(c); !strings.HasPrefix(got, "ok=") || strings.Contains(got, " ") {
		t.Errorf("counted %q", got)
	}
	wantIdle(t, c)
}

// gRFC A6: the service says when to come again, or not
// to come at all.
func TestGRPCPushback(t *testing.T) {
	f := func(name, pushback string, attempts int, least, most time.Duration) {
		bubble(t, name, func(t *testing.T) {
			calls := 0
			c := start(t, at("10.0.0.1:80"), h2(func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.Header().Set("Content-Type", "application/grpc")
				if calls > 1 {
					w.Header().Set("Grpc-Status", "0")
					return
				}
				w.Header().Set("Grpc-Status", "14")
				if pushback != "" {
					w.Header().Set("Grpc-Retry-Pushback-Ms", pushback)
				}
			}))
			r, x := request(t, "POST", nil)
			r.ProtoMajor = 2
			r.Header.Set("Content-Type", "application/grpc")
			x.Retry = policyOf(func(p *gateway.Retry) { p.GRPC = []int{14} })
			begun := time.Now()
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = read(t, resp)
			if took := time.Since(begun); calls != attempts || took < least || took > most {
				t.Errorf("%d attempts in %v, want %d in %v to %v", calls, took, attempts, least, most)
			}
		})
	}
	f("none", "", 2, 0, 25*time.Millisecond)
	f("a time", "3000", 2, 3*time.Second, 3025*time.Millisecond)
	f("at once", "0", 2, 0, 25*time.Millisecond)
	f("never", "-1", 1, 0, 0)
	f("nonsense", "soon", 1, 0, 0)
}
