//go:build linux

package bpf

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// do runs a tool of iproute2.
func do(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// far makes a network namespace at the other end of a cable, whose ends have the
// addresses here and there.
func far(t *testing.T) (c *cable, ns, here, there string) {
	t.Helper()
	need(t)
	ns = fmt.Sprintf("pithead%d", os.Getpid()%1000)
	subnet := fmt.Sprintf("10.213.%d.", os.Getpid()%250)
	do(t, "ip netns add "+ns)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	c = lay(t, ns+"a", ns+"b")
	do(t, "ip addr add "+subnet+"1/24 dev "+ns+"a")
	do(t, "ip link set "+ns+"a up")
	do(t, "ip link set "+ns+"b netns "+ns)
	do(t, "ip -n "+ns+" addr add "+subnet+"2/24 dev "+ns+"b")
	do(t, "ip -n "+ns+" link set "+ns+"b up")
	do(t, "ip -n "+ns+" link set lo up")
	return c, ns, subnet + "1", subnet + "2"
}

// service in a namespace, listening on its far address.
func farService(t *testing.T, ns, there string) *process {
	t.Helper()
	t.Setenv("LISTEN", there+":0")
	back := start(t, "", []string{"ip", "netns", "exec", ns}, "service")
	t.Setenv("LISTEN", "")
	return back
}

// A slow network to the upstream is neither the gateway's time nor the service's:
// connecting and the round trip take as long as the answer.
func TestSlowNetwork(t *testing.T) {
	cable, ns, _, there := far(t)
	cable.delay.Store(int64(10 * time.Millisecond))
	dir := group(t)
	back := farService(t, ns, there)
	attempts(t, func(t *testing.T, r *ranges) {
		front := start(t, dir, nil, "gateway", back.addr)
		p := probe(t, Options{Cgroup: dir, AnyListen: true, AnyUpstream: true, Status: true})
		client := newClient(t)
		for range 20 {
			fetch(t, client, "http://"+front.addr+"/200/0/2")
		}
		s := eventually(t, p, exactly(20))
		low, high := 9500*time.Microsecond, 12*time.Millisecond
		r.within("connect", s.Find(Upstream, "connect").Quantile(0.25), low, high)
		r.within("upstream round trip", s.Find(Upstream, "srtt").Quantile(0.25), low, high)
		r.within("upstream first byte", s.Find(Upstream, "ttfb_first").Quantile(0.25), low, high)
		r.within("client round trip", s.Find(Server, "srtt").Quantile(0.25), 0, 2*time.Millisecond)
	})
}

func TestLossForcesRetransmits(t *testing.T) {
	cable, ns, here, there := far(t)
	dir := group(t)
	back := farService(t, ns, there)
	t.Setenv("LISTEN", here+":0")
	front := start(t, dir, nil, "gateway", back.addr)
	p := probe(t, Options{Cgroup: dir, AnyListen: true, AnyUpstream: true, Status: true})
	client := newClient(t)
	fetch(t, client, "http://"+front.addr+"/") // the addresses are resolved, the connection is open
	cable.cut.Store(true)
	time.AfterFunc(300*time.Millisecond, func() { cable.cut.Store(false) })
	fetch(t, client, "http://"+front.addr+"/")
	s := eventually(t, p, exactly(2))
	for _, row := range s.Rows {
		if lost := row.Counters.Retransmits; (row.Side == Upstream) != (lost > 0) {
			t.Errorf("%s: %d retransmits", row.Side, lost)
		}
	}
	inside(t, "upstream first byte", s.Find(Upstream, "ttfb_first").Quantile(1), 200*time.Millisecond, 3*time.Second)
}

// The same port in another network namespace is another port, and a probe for
// that namespace sees what goes on there, idle and older connections included.
func TestNamespacesAreKeptApart(t *testing.T) {
	_, ns, _, there := far(t)
	back := farService(t, ns, there)
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
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	dir := group(t)
	front := start(t, dir, nil, "gateway", nobody)
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
