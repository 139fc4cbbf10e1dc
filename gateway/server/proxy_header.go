package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/pires/go-proxyproto"
)

// What a PROXY header can have.
const (
	maxHeaderV1   = 107 // bytes with its line feed; longer ones are no headers
	fixedHeaderV2 = 16  // signature, command, family, and the length of the rest
	firstRead     = 256 // holds the headers of most load balancers
)

// awaitsHeader says whether connections of peer must begin with a PROXY header.
func (f *front) awaitsHeader(peer netip.Addr) bool {
	if f.listener.ProxyProtocol == nil {
		return false
	}
	for _, network := range f.listener.ProxyProtocol.From {
		if network.Contains(peer) {
			return true
		}
	}
	return false
}

// awaitHeader makes the first Read wait for a PROXY header. It is read there and
// not when the connection is accepted: a load balancer that sends nothing delays
// nobody else.
func (c *conn) awaitHeader(timeout time.Duration) {
	c.headerBy = time.Now().Add(timeout)
	_ = c.SetReadDeadline(time.Time{}) // fails only on a closed connection
}

// bounded is a deadline that lets nobody wait longer for the header.
func (c *conn) bounded(t time.Time) time.Time {
	if !c.headerBy.IsZero() && (t.IsZero() || c.headerBy.Before(t)) {
		return c.headerBy
	}
	return t
}

// readHeader takes the header off the connection and learns who the client is.
// Without a good one the connection ends without an answer: what the other end
// takes the bytes for is anybody's guess.
func (c *conn) readHeader() error {
	if c.noHeader != nil { // somebody reads on
		return c.noHeader
	}
	head, err := c.takeHeader()
	if err == nil {
		err = c.believe(head)
	}
	if err == nil {
		c.headerBy = time.Time{}
		return c.SetReadDeadline(c.deadline)
	}
	if errors.Is(err, io.EOF) && len(head) == 0 || phase(c.phase.Load()) == phaseClosing {
		c.noHeader = io.EOF // it came and went, as health checks do
		return c.noHeader
	}
	reason := refusedHeader
	if full, ok := errors.AsType[clientFull](err); ok {
		reason = string(full)
	}
	c.front.count.Refused(reason)
	c.front.server.ErrorLog.Printf("connection from %v: %v", c.client, err)
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // as for all refused connections, see hangUp
	}
	c.noHeader = &net.OpError{Op: "read", Net: "tcp", Err: err} // which net/http answers with nothing
	return c.noHeader
}

// clientFull is the error of a client that has too many connections.
type clientFull string

func (r clientFull) Error() string { return string(r) }

// takeHeader reads to the end of the header, however many packets it comes in.
func (c *conn) takeHeader() (head []byte, err error) {
	got := make([]byte, 0, firstRead)
	for {
		n, err := c.Conn.Read(got[len(got):cap(got)])
		got = got[:len(got)+n]
		size, bad := headerSize(got)
		switch {
		case bad != nil:
			return got, bad
		case size > 0 && len(got) >= size:
			if len(got) > size {
				c.ahead = got[size:]
			}
			return got[:size], nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return got, errors.New("the PROXY header did not come in time")
		case err != nil:
			return got, err
		case len(got) == cap(got): // size is bounded, so this is too
			got = append(make([]byte, 0, max(size, 2*len(got))), got...)
		}
	}
}

var errNoHeader = errors.New("the connection does not begin with a PROXY header")

// headerSize is the length of the header that got begins with, 0 while that is
// not known.
func headerSize(got []byte) (int, error) {
	v1, v2 := proxyproto.SIGV1, proxyproto.SIGV2
	switch {
	case bytes.HasPrefix(got, v1):
		line := bytes.IndexByte(got[:min(len(got), maxHeaderV1)], '\n')
		if line < 0 && len(got) >= maxHeaderV1 {
			return 0, proxyproto.ErrVersion1HeaderTooLong
		}
		return line + 1, nil
	case bytes.HasPrefix(got, v2):
		if len(got) < fixedHeaderV2 {
			return 0, nil
		}
		rest := int(binary.BigEndian.Uint16(got[fixedHeaderV2-2:]))
		if rest > int(proxyproto.MaxV2HeaderSize) {
			return 0, proxyproto.ErrInvalidLength
		}
		return fixedHeaderV2 + rest, nil
	case bytes.HasPrefix(v1, got), bytes.HasPrefix(v2, got):
		return 0, nil
	}
	return 0, errNoHeader
}

// believe makes the address in the header the client's. A header that names
// none, or none of TCP, leaves the client to be the peer: so load balancers
// check health, and pass on what came to them through a Unix socket.
func (c *conn) believe(head []byte) error {
	if !unspecified(head) {
		header, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(head), len(head)))
		if err != nil {
			return err
		}
		if from, to, ok := header.TCPAddrs(); ok && !header.Command.IsLocal() {
			c.client, c.port = clientAddr(from), portOf(to)
			c.remote = netip.AddrPortFrom(c.client, portOf(from)).String()
		}
	}
	if refused := c.place.identify(c.client, &c.front.listener.Limits); refused != "" {
		return clientFull(refused)
	}
	return nil
}

// unspecified says whether head is a version 2 header of a client without an
// address, which the library refuses and the protocol lets pass.
func unspecified(head []byte) bool {
	return bytes.HasPrefix(head, proxyproto.SIGV2) &&
		head[12] == byte(proxyproto.PROXY) && head[13] == byte(proxyproto.UNSPEC)
}
