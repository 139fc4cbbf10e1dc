package proxy_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pithead/pithead/gateway"
)

// frames is a client that speaks HTTP/2 frame by frame.
type frames struct {
	*http2.Framer
	next uint32
}

func dialFrames(t *testing.T, addr string) *frames {
	t.Helper()
	c := dial(t, addr)
	c.send(t, http2.ClientPreface)
	f := &frames{http2.NewFramer(c, c.br), 1}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

// request sends the head of a POST and returns its stream.
func (f *frames) request(t *testing.T, end bool, fields ...string) uint32 {
	t.Helper()
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	fields = append([]string{":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a"}, fields...)
	for i := 0; i < len(fields); i += 2 {
		if err := e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			t.Fatal(err)
		}
	}
	id := f.next
	f.next += 2
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end}); err != nil {
		t.Fatal(err)
	}
	return id
}

// head reads up to the head of the stream's answer.
func (f *frames) head(t *testing.T, id uint32) *http2.MetaHeadersFrame {
	t.Helper()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				if err := f.WriteSettingsAck(); err != nil {
					t.Fatal(err)
				}
			}
		case *http2.MetaHeadersFrame:
			if frame.StreamID == id {
				return frame
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID == id {
				t.Fatalf("stream reset: %v", frame.ErrCode)
			}
		}
	}
}

// A gRPC answer without messages is one HEADERS frame that also ends the stream
// ("Trailers-Only"); some clients do not understand it in two. To see it fail,
// set FlushInterval to -1 in New, or let settle flush for HTTP/2 too.
func TestTrailersOnly(t *testing.T) {
	for name, reads := range map[string]bool{"after the request": true, "before its end": false} {
		t.Run(name, func(t *testing.T) {
			up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if reads {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Grpc-Status", "2")
			}))
			d := open(t, newCluster(t, up, true), nil)
			f := dialFrames(t, d.addr)
			for range 100 {
				id := f.request(t, false, "content-type", "application/grpc", "te", "trailers")
				if err := f.WriteData(id, reads, []byte{0, 0, 0, 0, 0}); err != nil {
					t.Fatal(err)
				}
				if head := f.head(t, id); !head.StreamEnded() {
					t.Fatalf("stream %d: the head does not end the stream", id)
				}
			}
		})
	}
}

// A refusal of ours is Trailers-Only too.
func TestOwnErrorsAreTrailersOnly(t *testing.T) {
	d := open(t, nil, nil)
	f := dialFrames(t, d.addr)
	head := f.head(t, f.request(t, true, "content-type", "application/grpc", "te", "trailers"))
	if !head.StreamEnded() || head.PseudoValue("status") != "200" {
		t.Errorf("status %s, ended %v", head.PseudoValue("status"), head.StreamEnded())
	}
}

// A body that is shorter than announced is the client's fault on HTTP/2 too.
func TestH221ShortBodyOverHTTP2(t *testing.T) {
	for _, back := range []bool{false, true} {
		d := open(t, newCluster(t, serve(t, &seen{}), back), nil)
		f := dialFrames(t, d.addr)
		id := f.request(t, false, "content-length", "10")
		if err := f.WriteData(id, true, []byte("abc")); err != nil {
			t.Fatal(err)
		}
		if status := f.head(t, id).PseudoValue("status"); status != "400" {
			t.Errorf("HTTP/2 %v: status %s", back, status)
		}
		d.wantErr(t, 400, "bad_body", gateway.CauseClient)
	}
}

func TestResetStream(t *testing.T) {
	for _, back := range []bool{false, true} {
		reading := make(chan struct{})
		up := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 3))
			close(reading)
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		d := open(t, newCluster(t, up, back), nil)
		f := dialFrames(t, d.addr)
		id := f.request(t, false)
		if err := f.WriteData(id, false, []byte("abc")); err != nil {
			t.Fatal(err)
		}
		<-reading
		if err := f.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		d.wantErr(t, 499, "client_closed", gateway.CauseClient)
	}
}

// Trailers may be announced for a body that never comes.
func TestAnnouncedTrailersWithoutABody(t *testing.T) {
	for _, back := range []bool{false, true} {
		up := &seen{}
		d := open(t, newCluster(t, serve(t, up), back), nil)
		f := dialFrames(t, d.addr)
		if status := f.head(t, f.request(t, true, "trailer", "x-sum")).PseudoValue("status"); status != "200" {
			t.Errorf("HTTP/2 %v: status %s", back, status)
		}
		if got := up.request(t).Trailer; len(got) > 0 {
			t.Errorf("HTTP/2 %v: trailers %v were announced", back, got)
		}
	}
}
