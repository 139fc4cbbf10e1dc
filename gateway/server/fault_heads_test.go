package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bigHead is the beginning of an HTTP/2 connection and one request on stream 1 whose
// head is of so many bytes, in fields of 4 KiB. Its last frame is missing.
func bigHead(size int) []byte {
	block := []byte{0x82, 0x86, 0x84, 0x01, 1, 'a'} // GET http / of host a, RFC 7541 appendix A
	for i := 0; len(block) < size; i++ {
		name := fmt.Sprintf("x-%04d", i)
		block = append(block, 0x00, byte(len(name)))
		block = append(block, name...)
		block = append(block, 0x7f, 0x81, 0x1f) // 127 + 1 + 31<<7 = 4096 bytes follow
		block = append(block, strings.Repeat("v", 4096)...)
	}
	out := bytes.NewBufferString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	frame := func(kind, flags byte, stream uint32, payload []byte) {
		var head [9]byte
		binary.BigEndian.PutUint32(head[:], uint32(len(payload))<<8|uint32(kind))
		head[4] = flags
		binary.BigEndian.PutUint32(head[5:], stream)
		out.Write(head[:])
		out.Write(payload)
	}
	frame(0x4, 0, 0, nil) // SETTINGS
	const most = 16 << 10
	frame(0x1, 0x1, 1, block[:most]) // HEADERS, END_STREAM, no END_HEADERS
	for block = block[most:]; len(block) > 0; block = block[min(most, len(block)):] {
		frame(0x9, 0, 1, block[:min(most, len(block))]) // CONTINUATION
	}
	return out.Bytes()
}

// inUse is the memory of the process that Go has taken and not given back.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// TestS10FaultHeadsThatDoNotEnd: a hundred connections send heads of a mebibyte, 50 each
// if PITHEAD_FAULTS=full. A connection is closed when its head is over the limit, so
// that each head needs another one. The figure is for client and gateway together.
func TestS10FaultHeadsThatDoNotEnd(t *testing.T) {
	const connections = 100
	streams := 5
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		streams = 50
	}
	h := wholeBehind(t, say("hello"), "", "listeners: {web: {address: \"127.0.0.1:0\", protocols: [h1, h2c]}}\n")
	h.wantGet("hello")
	head, before := bigHead(1<<20), inUse()
	var most, sent, spoke atomic.Int64
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			most.Store(max(most.Load(), int64(inUse())))
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	var crowd sync.WaitGroup
	for range connections {
		crowd.Go(func() {
			for range streams {
				n, answered := sendHead(t, h.addr(), head)
				sent.Add(int64(n))
				if answered {
					spoke.Add(1)
				}
			}
		})
	}
	crowd.Wait()
	close(stop)
	<-watched
	t.Logf("%d heads of 1 MiB: %d KiB of each were sent on average; %d MiB in use before, %d MiB at most",
		connections*streams, sent.Load()>>10/int64(connections*streams), before>>20, most.Load()>>20)
	if most.Load() > 256<<20 {
		t.Errorf("%d MiB in use, want at most 256", most.Load()>>20)
	}
	t.Logf("%d connections answered", spoke.Load())
	if spoke.Load() == 0 {
		t.Error("not one connection was of HTTP/2")
	}
	h.wantGet("hello")
}

// sendHead sends a head on a connection of its own, until the gateway has had enough.
// It says how much of it the gateway, or the kernel before it, has taken, and whether there was
// an answer; a reset may take that away.
func sendHead(t *testing.T, addr string, head []byte) (n int, answered bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return 0, false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	n, _ = c.Write(head) // it is closed meanwhile
	answer, err := io.ReadAll(c)
	if err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("a head of %d bytes was waited for: %v", n, err)
	}
	if len(answer) > 3 && answer[3] != 0x4 { // SETTINGS come first
		t.Errorf("no HTTP/2: %q", answer)
	}
	return n, len(answer) > 3
}
