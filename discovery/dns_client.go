package discovery

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pithead/pithead/gateway/kind"
)

const (
	dnsConf       = "/etc/resolv.conf"
	dnsMaxServers = 3 // as every C library has it

	// A packet may be lost, so the question is repeated; a server may be slow, so
	// the answer to the first one is still good after 5 s.
	dnsSends    = 3
	dnsPatience = 2 * time.Second
	dnsTCPLimit = 6 * time.Second
)

// dnsClient asks name servers. The resolver of the standard library is no help
// here: it does not tell how long an answer is valid.
type dnsClient struct {
	dial    dialFunc
	servers []netip.AddrPort
	first   atomic.Uint32 // the server that answered last

	sent, answered atomic.Int64 // queries in all
}

// ask asks one server after the other until one has an answer. That a name does
// not exist is one, and is a dnsFailure.
func (c *dnsClient) ask(ctx context.Context, name string, typ dnsmessage.Type) (dnsAnswer, error) {
	wire, err := dnsmessage.NewName(name)
	if err != nil {
		return dnsAnswer{}, fmt.Errorf("ask for %.64q: %w", name, err)
	}
	question := dnsmessage.Question{Name: wire, Type: typ, Class: dnsmessage.ClassINET}
	first, err := int(c.first.Load()), errors.New("there is no name server")
	for i := range c.servers {
		at := (first + i) % len(c.servers)
		var answer dnsAnswer
		answer, err = c.askServer(ctx, c.servers[at], question)
		if err == nil || errors.Is(err, dnsFailure(dnsmessage.RCodeNameError)) {
			c.answered.Add(1)
			c.first.Store(uint32(at))
		}
		if err == nil {
			return answer, nil
		}
		err = fmt.Errorf("ask %s for %s of %s: %w", c.servers[at], strings.TrimPrefix(typ.String(), "Type"), strings.TrimSuffix(name, "."), err)
		if errors.Is(err, dnsFailure(dnsmessage.RCodeNameError)) || ctx.Err() != nil {
			break
		}
	}
	return dnsAnswer{}, err
}

// askServer asks again without EDNS if the server is too old for it (RFC 6891,
// section 7), and by TCP if the answer does not fit.
func (c *dnsClient) askServer(ctx context.Context, server netip.AddrPort, question dnsmessage.Question) (answer dnsAnswer, err error) {
	for _, edns := range []bool{true, false} {
		q := dnsQuery{question: question, edns: edns}
		answer, err = c.exchange(ctx, server, &q, c.udp)
		if errors.Is(err, errTruncated) {
			answer, err = c.exchange(ctx, server, &q, c.tcp)
		}
		if !errors.Is(err, dnsFailure(dnsmessage.RCodeFormatError)) && !errors.Is(err, dnsFailure(dnsmessage.RCodeNotImplemented)) {
			break
		}
	}
	return answer, err
}

type dnsTransport func(ctx context.Context, server string, q *dnsQuery, msg []byte) (dnsAnswer, error)

// exchange gives the query a new id, and by a new socket a new port: both
// together are what an answer from somebody else would have to guess (RFC 5452).
func (c *dnsClient) exchange(ctx context.Context, server netip.AddrPort, q *dnsQuery, by dnsTransport) (dnsAnswer, error) {
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails
	q.id = binary.BigEndian.Uint16(id[:])
	msg, err := q.pack()
	if err != nil {
		return dnsAnswer{}, err
	}
	return by(ctx, server.String(), q, msg)
}

func (c *dnsClient) udp(ctx context.Context, server string, q *dnsQuery, msg []byte) (dnsAnswer, error) {
	conn, err := c.dial(ctx, "udp", server)
	if err != nil {
		return dnsAnswer{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	buf := make([]byte, dnsPayload)
	for range dnsSends {
		c.sent.Add(1)
		if err = conn.SetDeadline(time.Now().Add(dnsPatience)); err == nil {
			_, err = conn.Write(msg[2:])
		}
		for err == nil {
			var n int
			if n, err = conn.Read(buf); err != nil {
				break
			}
			// Anybody may send to the port: what does not answer the query is no
			// reason to stop waiting for what does.
			answer, wrong := q.read(buf[:n])
			if !errors.Is(wrong, errForeign) {
				return answer, wrong
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return dnsAnswer{}, err
		}
	}
	return dnsAnswer{}, fmt.Errorf("no answer in %s", dnsSends*dnsPatience)
}

func (c *dnsClient) tcp(ctx context.Context, server string, q *dnsQuery, msg []byte) (dnsAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTCPLimit)
	defer cancel()
	c.sent.Add(1)
	conn, err := c.dial(ctx, "tcp", server)
	if err != nil {
		return dnsAnswer{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := conn.Write(msg); err != nil {
		return dnsAnswer{}, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return dnsAnswer{}, fmt.Errorf("read answer: %w", err)
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return dnsAnswer{}, fmt.Errorf("read answer: %w", err)
	}
	return q.read(buf)
}

// parseServers reads addresses with or without a port, with spaces between.
func parseServers(text string) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	for word := range strings.FieldsSeq(text) {
		server, err := netip.ParseAddrPort(word)
		if err != nil {
			var addr netip.Addr
			addr, err = netip.ParseAddr(word)
			server = netip.AddrPortFrom(addr, 53)
		}
		if err != nil || server.Port() == 0 {
			return nil, fmt.Errorf("%.64q is no address of a name server; write for example 10.0.0.2:53", word)
		}
		servers = append(servers, server)
	}
	if len(servers) > dnsMaxServers {
		return nil, fmt.Errorf("%d name servers are more than %d", len(servers), dnsMaxServers)
	}
	return servers, nil
}

// readServers finds the name servers that the system uses. Its other options
// are about names that are not absolute, or about timeouts.
func readServers(path string) ([]netip.AddrPort, error) {
	text, err := kind.ReadFile(path, fileLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read name servers: %w", err)
	}
	var servers []netip.AddrPort
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" || len(servers) == dnsMaxServers {
			continue
		}
		if addr, err := netip.ParseAddr(words[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr, 53))
		}
	}
	if len(servers) == 0 { // what resolv.conf(5) says of such a file
		servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return servers, nil
}

// unanswered are the queries so far that led to nothing.
func (c *dnsClient) unanswered() int64 { return c.sent.Load() - c.answered.Load() }
