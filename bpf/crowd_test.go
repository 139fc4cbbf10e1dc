//go:build linux

package bpf

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/pithead/pithead/gateway/anatomy"
)

func TestConcurrentRequestsAreCountedOnce(t *testing.T) {
	need(t)
	clients, each := 50, 40
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		each = 2000
	}
	dir := group(t)
	back := start(t, "", nil, "service")
	front := start(t, dir, nil, "gateway", back.addr)
	p := probe(t, Options{Cgroup: dir, AnyListen: true, AnyUpstream: true, Status: true})
	var all sync.WaitGroup
	for i := range clients {
		client := newClient(t)
		all.Go(func() {
			for range each {
				resp, err := client.Get("http://" + front.addr + "/" + strconv.Itoa(200+i))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	all.Wait()
	s := eventually(t, p, exactly(uint64(clients*each)))
	if n := s.Find(Server, "accept").Count(); n != uint64(clients) {
		t.Errorf("%d accepts, want %d", n, clients)
	}
}

// Under TLS nothing tells the handshake from requests but the gateway's tag.
func TestTLSCountsAfterTheFirstTag(t *testing.T) {
	need(t)
	dir := group(t)
	front := start(t, dir, nil, "secure")
	port := front.port()
	port.Secure = true
	p := probe(t, Options{Cgroup: dir, Listen: []Port{port}, Status: true})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	fetch(t, client, "https://"+front.addr+"/untagged")
	if s := snapshot(t, p); s.Find(Server, "ttfb_first").Count() != 0 {
		t.Errorf("counted before the first tag:\n%s", describe(s))
	}
	for range 5 {
		fetch(t, client, "https://"+front.addr+"/tagged")
	}
	s := eventually(t, p, answers(Server, 5))
	for _, row := range s.Rows {
		for i := range row.Cells {
			if class := row.Cells[i].Class; class != "" && class != "unknown" {
				t.Errorf("a status under TLS: %s", class)
			}
		}
	}
	for range 5 {
		fetch(t, client, "https://"+front.addr+"/connection")
	}
	if s := snapshot(t, p); s.Find(Server, "ttfb_first").Count() != 5 {
		t.Errorf("requests are told apart on a connection of which only itself should be measured:\n%s", describe(s))
	}
}

// secure is a server with TLS that tags its connections when it is asked to.
func secure([]string) error {
	l, err := ready()
	if err != nil {
		return err
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		conn := connOf(r).(*tls.Conn).NetConn()
		switch r.URL.Path {
		case "/tagged":
			err = tag(conn, anatomy.Tag{Label: 1})
		case "/connection":
			err = tag(conn, anatomy.Tag{Label: 1, Flags: anatomy.TagConnection})
		}
		if err != nil {
			panic(err)
		}
	}))
	_ = server.Listener.Close()
	server.Listener = l
	server.Config.ConnContext = withConn
	server.StartTLS()
	select {}
}

// A probe that is restarted finds the connections that are open.
func TestOpenConnectionsAreSeeded(t *testing.T) {
	need(t)
	dir := group(t)
	back := start(t, "", nil, "service")
	front := start(t, dir, nil, "gateway", back.addr)
	client := newClient(t)
	for i := range 3 {
		fetch(t, client, "http://"+front.addr+"/")
		p, err := Load(Options{Cgroup: dir, AnyListen: true, AnyUpstream: true, Labels: 2, Settle: 1, Status: true})
		if err != nil {
			t.Fatal(err)
		}
		fetch(t, client, "http://"+front.addr+"/")
		fetch(t, client, "http://"+front.addr+"/")
		s := eventually(t, p, exactly(2))
		if a := s.Find(Server, "accept").Count(); a != 0 {
			t.Errorf("round %d: an accept that nobody saw", i)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Early answers are those with a status of 1xx: the time ends with the real one.
func TestInterimAnswersDoNotCount(t *testing.T) {
	need(t)
	dir := group(t)
	back := start(t, dir, nil, "service")
	p := probe(t, Options{Cgroup: dir, AnyListen: true, Status: true})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+back.addr+"/204/0/0", pieces{})
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 1 << 40}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	s := eventually(t, p, answers(Server, 1))
	if c := s.Rows[0].Counters; c.Requests != 1 {
		t.Errorf("%+v", c)
	}
}

// pieces is a body.
type pieces struct{}

func (pieces) Read(p []byte) (int, error) { return copy(p, "x"), io.EOF }

// A connection of a process in the root group is found by its process.
func TestProcessInTheRootGroup(t *testing.T) {
	need(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	back := start(t, "", nil, "service")
	front := start(t, "", nil, "gateway", back.addr)
	other := start(t, "", nil, "gateway", back.addr)
	ports, err := ListenersOf(front.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p := probe(t, Options{Listen: ports, Process: front.Process.Pid, AnyUpstream: true, Status: true})
	client := newClient(t)
	for range 3 {
		fetch(t, client, "http://"+front.addr+"/")
		fetch(t, client, "http://"+other.addr+"/")
	}
	eventually(t, p, exactly(3))
	for _, tier := range p.Tiers() {
		if tier.Name == "channel and accept" && tier.Active {
			t.Error("attached to the root")
		}
	}
}
