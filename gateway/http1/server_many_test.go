package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// throng is many clients of one server, each with a few requests ahead of the answers.
type throng struct {
	addr     string
	number   atomic.Int64
	whole    atomic.Int64 // answers that came to their end
	hijacked atomic.Int64
	left     atomic.Int64 // handlers that noticed that their client has left
	work     sync.WaitGroup
}

// deeds are what a handler may do. Those from the sixth on end the connection.
var deeds = []string{"echo", "length", "chunks", "slow", "none", "early", "wait", "abort", "hijack"}

// lasting are the deeds behind which the connection stays.
const lasting = 5

// ServeHTTP implements http.Handler. Each answer says the number of its request over
// and over.
func (g *throng) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	deed, number, _ := strings.Cut(r.URL.Path[1:], "/")
	w.Header().Set("X-Number", number)
	if deed != "early" && deed != "hijack" {
		if sent, err := io.ReadAll(r.Body); err != nil || strings.ReplaceAll(string(sent), number+"\n", "") != "" {
			panic(http.ErrAbortHandler) // the client has gone, or it is not its body: no answer
		}
	}
	body := strings.Repeat(number+"\n", 1+rand.N(4000))
	switch deed {
	case "length":
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	case "none":
		w.WriteHeader(http.StatusNoContent)
		return
	case "slow":
		pause(r.Context(), rand.N(12*time.Millisecond)) // somebody looks after the client meanwhile
	case "wait":
		if pause(r.Context(), time.Minute) {
			g.left.Add(1)
		}
		return
	case "early":
		w.Header().Set("Connection", "close")
	case "hijack":
		g.take(w, number)
		return
	}
	for rest := body; rest != ""; {
		n := min(len(rest), 1+rand.N(30_000))
		if _, err := io.WriteString(w, rest[:n]); err != nil {
			return
		}
		if rest = rest[n:]; deed == "chunks" || deed == "abort" {
			_ = http.NewResponseController(w).Flush() // writes fail, too
		}
	}
	if deed == "abort" {
		panic(http.ErrAbortHandler)
	}
}

// pause says whether the client left before the time was over.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(d):
		return false
	}
}

// take says the number as raw bytes, from a goroutine that outlives the handler, when
// the client has said it.
func (g *throng) take(w http.ResponseWriter, number string) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // it has left
	}
	g.hijacked.Add(1)
	g.work.Go(func() {
		defer c.Close()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			if line == "taken\n" {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Number: "+number+"\r\n\r\n"+number+"\n")
				return
			}
		}
	})
}

// wish is one request of a client.
type wish struct{ deed, number string }

// visit opens a connection, sends some requests, ahead of the answers, in pieces, and
// reads what comes; or it loses patience.
func (g *throng) visit() error {
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	patience, patient := time.Now().Add(time.Minute), true
	if rand.N(4) == 0 {
		patience, patient = time.Now().Add(rand.N(20*time.Millisecond)), false
	}
	if err := c.SetDeadline(patience); err != nil {
		return err
	}
	var wishes []wish
	var words strings.Builder
	for range 1 + rand.N(8) {
		i := rand.N(len(deeds))
		w := wish{deeds[i], strconv.FormatInt(g.number.Add(1), 10)}
		if w.deed == "wait" {
			patient = false
			_ = c.SetDeadline(time.Now().Add(30 * time.Millisecond)) // as above
		}
		wishes = append(wishes, w)
		w.say(&words)
		if i >= lasting {
			break
		}
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for rest := words.String(); rest != ""; {
			n := min(len(rest), 1+rand.N(20_000))
			if _, err := io.WriteString(c, rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	err = g.listen(c, wishes)
	_ = c.Close()
	<-sent
	if err != nil && (patient || errors.Is(err, errForeign)) {
		return fmt.Errorf("%v: %w", wishes, err)
	}
	return nil
}

// say writes the request, with or without a body.
func (w wish) say(b *strings.Builder) {
	body := ""
	if rand.N(2) == 0 {
		body = strings.Repeat(w.number+"\n", 1+rand.N(8000))
	}
	head := "POST /" + w.deed + "/" + w.number + " HTTP/1.1\r\nHost: a\r\n"
	switch {
	case body == "" || w.deed == "hijack":
		b.WriteString(head + "\r\n")
	case rand.N(2) == 0:
		b.WriteString(head + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	default:
		b.WriteString(head + "Transfer-Encoding: chunked\r\n\r\n" + inChunks(body, 1+rand.N(20_000)))
	}
	if w.deed == "hijack" {
		b.WriteString("taken\n")
	}
}

// listen reads the answers to all wishes, in their order.
func (g *throng) listen(c net.Conn, wishes []wish) error {
	in := bufio.NewReader(c)
	for _, w := range wishes {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			if w.deed == "abort" {
				return nil // nothing of it has come
			}
			return fmt.Errorf("%s %s: %w", w.deed, w.number, err)
		}
		body, err := io.ReadAll(resp.Body)
		line := w.number + "\n"
		rest := strings.ReplaceAll(string(body), line, "")
		if got := resp.Header.Get("X-Number"); got != w.number || !strings.HasPrefix(line, rest) {
			return fmt.Errorf("%w: %s and %.100q instead of %s", errForeign, got, rest, w.number)
		}
		switch {
		case w.deed == "abort":
			if err == nil {
				return fmt.Errorf("%w: a broken answer is whole", errForeign)
			}
			return nil
		case err != nil:
			return fmt.Errorf("%s %s: %w", w.deed, w.number, err)
		case rest != "":
			return fmt.Errorf("%w: %q at the end", errForeign, rest)
		}
		g.whole.Add(1)
	}
	return nil
}

// TestServeManyAtOnce: whatever clients and handlers do, nobody gets the answer to
// somebody else's request, and in the end nothing is left.
func TestServeManyAtOnce(t *testing.T) {
	before := goleak.IgnoreCurrent()
	const clients, visits = 50, 20
	g := new(throng)
	t.Run("all", func(t *testing.T) {
		g.addr = startOurs(t, &Server{
			Handler: g, HeaderTimeout: time.Minute, IdleTimeout: time.Minute,
			Panicked: func(r *http.Request, value any, stack []byte) { t.Errorf("%v: %v\n%s", r.URL, value, stack) },
		})
		var work sync.WaitGroup
		for range clients {
			work.Go(func() {
				for range visits {
					if err := g.visit(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		work.Wait()
	})
	g.work.Wait()
	goleak.VerifyNone(t, before)
	if g.whole.Load() < clients*visits/2 || g.hijacked.Load() == 0 || g.left.Load() == 0 {
		t.Errorf("%d answers were whole, %d connections hijacked, %d clients missed", g.whole.Load(), g.hijacked.Load(), g.left.Load())
	}
}
