//go:build linux

package bpf

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/pithead/pithead/test/cable"
)

// far is a cable to another network namespace.
func far(t *testing.T) *cable.Cable {
	t.Helper()
	need(t)
	return cable.Far(t)
}

// service in a namespace, listening on its far address.
func farService(t *testing.T, to *cable.Cable) *process {
	t.Helper()
	t.Setenv("LISTEN", to.There+":0")
	back := start(t, "", []string{"ip", "netns", "exec", to.Namespace}, "service")
	t.Setenv("LISTEN", "")
	return back
}

// A slow network to the upstream is neither the gateway's time nor the service's:
// connecting and the round trip take as long as the answer.
func TestSlowNetwork(t *testing.T) {
	wire := far(t)
	wire.Delay.Store(int64(10 * time.Millisecond))
	dir := group(t)
	back := farService(t, wire)
	attempts(t, func(t *testing.T, r *ranges) {
		front := start(t, dir, nil, "gateway", back.addr)
		p := probe(t, Options{Cgroup: dir, AnyListen: true, AnyUpstream: true, Status: true})
		client := newClient(t)
		walls := timed(20, func() { fetch(t, client, "http://"+front.addr+"/200/0/2") })
		s := eventually(t, p, exactly(20))
		low, longest := 9500*time.Microsecond, walls[19]
		r.within("connect", s.Find(Upstream, "connect").Quantile(0.25), low, longest-low) // the first request also waits for its answer
		r.within("upstream round trip", s.Find(Upstream, "srtt").Quantile(0.25), low, longest)
		r.within("upstream first byte", s.Find(Upstream, "ttfb_first").Quantile(0.25), low, walls[5]*11/10)
		r.within("client round trip", s.Find(Server, "srtt").Quantile(0.25), 0, low/4)
	})
}

func TestLossForcesRetransmits(t *testing.T) {
	wire := far(t)
	dir := group(t)
	back := farService(t, wire)
	t.Setenv("LISTEN", wire.Here+":0")
	front := start(t, dir, nil, "gateway", back.addr)
	p := probe(t, Options{Cgroup: dir, AnyListen: true, AnyUpstream: true, Status: true})
	client := newClient(t)
	fetch(t, client, "http://"+front.addr+"/") // the addresses are resolved, the connection is open
	wire.Cut.Store(true)
	time.AfterFunc(300*time.Millisecond, func() { wire.Cut.Store(false) })
	fetch(t, client, "http://"+front.addr+"/")
	s := eventually(t, p, exactly(2))
	for _, row := range s.Rows {
		if lost := row.Counters.Retransmits; (row.Side == Upstream) != (lost > 0) {
			t.Errorf("%s: %d retransmits", row.Side, lost)
		}
	}
	inside(t, "upstream first byte", s.Find(Upstream, "ttfb_first").Quantile(1), 200*time.Millisecond, time.Minute)
}

// The same port in another network namespace is another port, and a probe for
// that namespace sees what goes on there, idle and older connections included.
func TestNamespacesAreKeptApart(t *testing.T) {
	wire := far(t)
	back := farService(t, wire)
	own, path, err := OwnNetns()
	if err != nil || path != "" {
		t.Fatal(path, err)
	}
	inode, path, err := NetnsOf(back.Process.Pid)
	if err != nil || inode == own || path == "" {
		t.Fatal(inode, path, err)
	}
	ports, err := ListenersOf(back.Process.Pid)
	if err != nil || len(ports) != 1 || ports[0] != back.port() {
		t.Fatalf("listeners %v, %v; want %v", ports, err, back.port())
	}
	client := newClient(t)
	fetch(t, client, "http://"+back.addr+"/") // opens the connection before
	here := probe(t, Options{Netns: own, Listen: ports, Status: true})
	inside := probe(t, Options{Netns: inode, NetnsPath: path, Listen: ports, Status: true})
	for range 5 {
		fetch(t, client, "http://"+back.addr+"/")
	}
	s := eventually(t, inside, answers(Server, 5))
	if s.Rows[0].Counters.Connections != 0 {
		t.Errorf("the connection is older than the probe: %+v", s.Rows[0].Counters)
	}
	if s := snapshot(t, here); len(s.Rows) != 0 {
		t.Errorf("seen from another namespace:\n%s", describe(s))
	}
}

func TestRefusedResetAndUnanswered(t *testing.T) {
	need(t)
	dir := group(t)
	front := start(t, dir, nil, "gateway", "127.0.0.1:1") // where nobody listens
	p := probe(t, Options{Cgroup: dir, AnyListen: true, AnyUpstream: true, Status: true})
	if resp := fetch(t, newClient(t), "http://"+front.addr+"/"); resp.StatusCode != http.StatusBadGateway {
		t.Fatal(resp.Status)
	}
	s := eventually(t, p, func(s *Snapshot) bool { return s.Find(Server, "total").Count() == 1 })
	for _, row := range s.Rows {
		if c := row.Counters; row.Side == Upstream && (c.Refused != 1 || c.Unreached != 0 || c.Resets != 0) {
			t.Errorf("%+v", c)
		}
	}
	conn, err := net.Dial("tcp", front.addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("GET / HT"))
	_ = conn.(*net.TCPConn).SetLinger(0) // close sends a reset
	_ = conn.Close()
	eventually(t, p, func(s *Snapshot) bool {
		for _, row := range s.Rows {
			if row.Side == Server && row.Counters.Resets == 1 && row.Counters.Unanswered == 1 {
				return true
			}
		}
		return false
	})
}
