package server

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/config"
)

func TestCaps(t *testing.T) {
	c := newCaps(&budget{limit: 6})
	limits := &config.Limits{Connections: 5, ConnectionsPerClient: 2}
	var places []place
	take := func(addr, want string) {
		t.Helper()
		p, refused := c.take(netip.MustParseAddr(addr), limits)
		if refused != want {
			t.Errorf("take(%s) refused %q, want %q", addr, refused, want)
		}
		places = append(places, p)
	}
	take("192.0.2.1", "")
	take("192.0.2.1", "")
	take("192.0.2.1", refusedClient)
	take("2001:db8::1", "")
	take("2001:db8::2", "")
	take("2001:db8::3", refusedClient) // the same /64
	take("2001:db8:0:1::3", "")
	take("192.0.2.9", refusedListener)
	for _, p := range places {
		p.leave()
	}
	if c.open != 0 || len(c.clients) != 0 || c.process.used.Load() != 0 {
		t.Errorf("after all have left: %d open, clients %v, %d in the process", c.open, c.clients, c.process.used.Load())
	}
	limits.Connections = 100
	for range 6 {
		take("127.0.0.1", "") // loopback has no cap of its own
	}
	take("::1", refusedProcess)
}

func TestFault37BudgetLeavesDescriptors(t *testing.T) {
	for files, want := range map[int64]int64{256: 96, 1024: 480, 70: 16} {
		if got := connectionsFor(files); got != want {
			t.Errorf("connectionsFor(%d) = %d, want %d", files, got, want)
		}
	}
}

func TestCapsRefuse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	frontOn(t, ln, &config.Listener{Protocols: []string{"h1"}, Limits: config.Limits{Connections: 2}}, say("whole"))
	var open []net.Conn
	for range 2 {
		c := dial(t, ln.Addr())
		if _, err := roundTrip(c); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	third := func() (string, error) { // may already be refused while it connects
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return "", err
		}
		defer c.Close()
		return roundTrip(c)
	}
	if body, err := third(); err == nil {
		t.Errorf("S05: a third connection got %q", body)
	}
	_ = open[0].Close()
	late := time.After(patience)
	for { // until the server has noticed
		if body, err := third(); err == nil && body == "whole" {
			break
		}
		select {
		case <-late:
			t.Fatal("the place was not given back")
		default:
		}
	}
	if got := peerOf(&addressed{addr: &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1")}}); got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("mapped address: %s", got)
	}
}

type addressed struct {
	net.Conn
	addr net.Addr
}

func (a *addressed) RemoteAddr() net.Addr { return a.addr }
