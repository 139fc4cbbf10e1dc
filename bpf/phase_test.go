//go:build linux

package bpf

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/anatomy"
)

// one is the mean of a metric of which there must be n samples.
func mean(t *testing.T, s *Snapshot, side Side, metric string, n uint64) time.Duration {
	t.Helper()
	h := s.Find(side, metric)
	if h.Count() != n {
		t.Fatalf("%s %s: %d samples, want %d\n%s", side, metric, h.Count(), n, describe(s))
	}
	return h.Mean()
}

// answered waits for n responses on a side.
func answers(side Side, n uint64) func(*Snapshot) bool {
	return func(s *Snapshot) bool { return s.Find(side, "total").Count() == n }
}

// Time before accept and before the first read is seen by nobody in user space.
func TestAcceptDelayedAndReadLate(t *testing.T) {
	need(t)
	attempts(t, acceptLate)
}

func acceptLate(t *testing.T, r *ranges) {
	dir := group(t)
	back := start(t, dir, nil, "late", "50", "30")
	p := probe(t, Options{Cgroup: dir, Listen: []Port{back.port()}, Status: true})
	begun := time.Now()
	resp := fetch(t, newClient(t), "http://"+back.addr+"/")
	wall := time.Since(begun)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	s := eventually(t, p, answers(Server, 1))
	accept, queue := mean(t, s, Server, "accept", 1), mean(t, s, Server, "queue", 1)
	r.within("accept", accept, 49*time.Millisecond, wall-29*time.Millisecond)
	r.within("queue", queue, 79*time.Millisecond, wall)
	r.within("read after accept", queue-accept, 29*time.Millisecond, wall-49*time.Millisecond)
}

func TestSlowHandler(t *testing.T) {
	need(t)
	attempts(t, slowHandler)
}

func slowHandler(t *testing.T, r *ranges) {
	dir := group(t)
	back := start(t, "", nil, "service")
	front := start(t, dir, nil, "gateway", back.addr)
	p := probe(t, Options{Cgroup: dir, Listen: []Port{front.port()}, Upstream: []Port{back.port()}, Status: true})
	client := newClient(t)
	walls := timed(20, func() { fetch(t, client, "http://"+front.addr+"/503/20/100") })
	s := eventually(t, p, exactly(20))
	for _, side := range []Side{Server, Upstream} {
		r.within(side.String()+" first byte", s.Find(side, "ttfb_first").Quantile(0.25), 19*time.Millisecond, walls[5]*11/10)
	}
	r.within("queue", s.Find(Server, "queue").Quantile(0.25), 0, walls[5]-19*time.Millisecond)
	for _, row := range s.Rows {
		for i := range row.Cells {
			if c := row.Cells[i]; c.Class != "" && c.Class != "5xx" {
				t.Errorf("%s %s has class %s", row.Side, c.Metric, c.Class)
			}
		}
	}
}

// timed does something n times, and says how long each took: the shortest first, and a
// quarter of them up to n/4. No phase can be longer than the client has waited.
func timed(n int, do func()) (walls []time.Duration) {
	for range n {
		begun := time.Now()
		do()
		walls = append(walls, time.Since(begun))
	}
	slices.Sort(walls)
	return walls
}

// A gateway that does not run lets its bytes lie, which is neither the network's
// time nor the upstream's.
func TestStoppedGateway(t *testing.T) {
	need(t)
	attempts(t, stoppedGateway)
}

func stoppedGateway(t *testing.T, r *ranges) {
	dir := group(t)
	back := start(t, "", nil, "service")
	front := start(t, dir, nil, "gateway", back.addr)
	conn, err := net.Dial("tcp", front.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := bufio.NewReader(conn)
	ask(t, conn, answer) // the connections are open, and older than the probe
	p := probe(t, Options{Cgroup: dir, Listen: []Port{front.port()}, Upstream: []Port{back.port()}, Status: true})
	if err := front.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begun, stop := time.Now(), r.longer(40*time.Millisecond)
	time.AfterFunc(stop, func() { _ = front.Process.Signal(syscall.SIGCONT) })
	ask(t, conn, answer)
	wall := time.Since(begun)
	s := eventually(t, p, exactly(1))
	queue := mean(t, s, Server, "queue", 1)
	r.within("queue", queue, stop-time.Millisecond, wall)
	r.within("everything else", wall-queue, 0, stop/10)
	r.within("upstream", mean(t, s, Upstream, "total", 1), 0, stop/20)
}

// An upstream whose process does not run has a network as quick as ever: its kernel
// acknowledges for it.
func TestSleepingUpstream(t *testing.T) {
	need(t)
	attempts(t, sleepingUpstream)
}

func sleepingUpstream(t *testing.T, r *ranges) {
	dir := group(t)
	back := start(t, "", nil, "service")
	front := start(t, dir, nil, "gateway", back.addr)
	conn, err := net.Dial("tcp", front.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := bufio.NewReader(conn)
	ask(t, conn, answer)
	p := probe(t, Options{Cgroup: dir, Listen: []Port{front.port()}, Upstream: []Port{back.port()}, Status: true})
	if err := back.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begun, stop := time.Now(), r.longer(60*time.Millisecond)
	time.AfterFunc(stop, func() { _ = back.Process.Signal(syscall.SIGCONT) })
	ask(t, conn, answer)
	wall := time.Since(begun)
	s := eventually(t, p, exactly(1))
	r.within("upstream first byte", mean(t, s, Upstream, "ttfb_last", 1), stop-3*time.Millisecond, wall)
	r.within("least round trip", mean(t, s, Upstream, "rtt_min", 1), 0, stop/60)
	r.within("queue", mean(t, s, Server, "queue", 1)+mean(t, s, Upstream, "queue", 1), 0, stop/60)
}

// ask sends one request and reads its answer.
func ask(t testing.TB, conn net.Conn, answer *bufio.Reader) {
	t.Helper()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// The client's window is full: the gateway has written everything long before the
// client has it.
func TestSlowClient(t *testing.T) {
	need(t)
	attempts(t, slowClient)
}

func slowClient(t *testing.T, r *ranges) {
	dir := group(t)
	back := start(t, dir, nil, "service")
	p := probe(t, Options{Cgroup: dir, Listen: []Port{back.port()}, Status: true})
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", back.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begun := time.Now()
	if _, err := io.WriteString(conn, "GET /200/0/60000 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	stop := r.longer(100 * time.Millisecond)
	<-time.After(stop)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	s := eventually(t, p, answers(Server, 1))
	drain, total := mean(t, s, Server, "drain", 1), mean(t, s, Server, "total", 1)
	r.within("drain and total", drain+total, stop-time.Millisecond, time.Since(begun))
	r.within("total", total, 0, stop/20)
}

// What the client measures is what the kernel's phases add up to: the two clocks
// are read on both sides of one system call, so the best of some runs decides.
func TestPhasesSumToWallTime(t *testing.T) {
	need(t)
	dir := group(t)
	back := start(t, dir, nil, "service")
	p := probe(t, Options{Cgroup: dir, Listen: []Port{back.port()}, Status: true})
	conn, err := net.Dial("tcp", back.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := &listener{Conn: conn}
	answer := bufio.NewReader(heard)
	best, allowed := time.Hour, time.Duration(0)
	var before time.Duration
	// The client's clock also counts its own waits for a processor: one request that
	// had none is enough.
	for i := 0; i < 150 && best > allowed; i++ {
		begun := time.Now()
		if _, err := io.WriteString(conn, "GET /200/20/10 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(answer, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		wall := heard.last.Sub(begun)
		s := eventually(t, p, answers(Server, uint64(i+1)))
		total := s.Find(Server, "total").Sum
		if off := (wall - (total - before)).Abs(); off < best {
			best, allowed = off, max(wall/100, 50*time.Microsecond)
		}
		before = total
	}
	if best > allowed {
		t.Errorf("the phases are off by %v, %v is allowed", best, allowed)
	}
	t.Logf("off by %v, %v is allowed", best, allowed)
}

// listener remembers when it last had something to read, which is before the client
// understands it.
type listener struct {
	net.Conn

	last time.Time
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.last = time.Now()
	return n, err
}

// The gateway names its connections and reads their timings back.
func TestChannel(t *testing.T) {
	need(t)
	dir := group(t)
	back := start(t, "", nil, "service")
	front := start(t, dir, nil, "gateway", back.addr, "5")
	p := probe(t, Options{Cgroup: dir, AnyListen: true, AnyUpstream: true, Status: true, Outlier: 15 * time.Millisecond})
	client := newClient(t)
	var resp *http.Response
	for range 10 {
		resp = fetch(t, client, "http://"+front.addr+"/200/20/5")
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	flags, _ := strconv.ParseUint(resp.Header.Get("Flags"), 10, 32)
	if want := uint64(anatomy.Tracked | anatomy.Tagged | anatomy.Accepted); flags != want {
		t.Errorf("flags %b, want %b", flags, want)
	}
	for _, name := range []string{"Queue-Ns", "Accept-Ns"} {
		if n, _ := strconv.Atoi(resp.Header.Get(name)); n <= 0 || n > int(time.Minute) {
			t.Errorf("%s is %q", name, resp.Header.Get(name))
		}
	}
	s := eventually(t, p, exactly(10))
	for _, row := range s.Rows {
		if row.Label != 5 {
			t.Errorf("a row has label %d:\n%s", row.Label, describe(s))
		}
	}
	outliers, err := p.Outliers()
	if err != nil || len(outliers) != 20 {
		t.Fatalf("%d outliers, %v", len(outliers), err)
	}
	for _, o := range outliers {
		inside(t, "outlier's first byte", o.TTFB, 19*time.Millisecond, time.Minute)
		if (o.Side == "server") != (o.Request == 4711) || o.Label != 5 || o.Class != "2xx" {
			t.Errorf("%+v", o)
		}
	}
}

// A process that knows nothing of the probe: paths tell its requests apart.
func TestPrefixes(t *testing.T) {
	need(t)
	back := start(t, "", nil, "service")
	front := start(t, "", nil, "gateway", back.addr)
	inode, _, err := OwnNetns()
	if err != nil {
		t.Fatal(err)
	}
	p := probe(t, Options{
		Netns: inode, Listen: []Port{front.port()}, Upstream: []Port{back.port()}, Status: true,
		Prefixes: []Prefix{{"/2", 1}, {"/201", 2}, {"/4", 3}},
	})
	client := newClient(t)
	for status, n := range map[string]int{"200": 3, "201": 4, "404": 5, "500": 6} {
		for range n {
			fetch(t, client, (&url.URL{Scheme: "http", Host: front.addr, Path: "/" + status}).String())
		}
	}
	s := eventually(t, p, exactly(18))
	want := map[uint32]uint64{0: 6, 1: 3, 2: 4, 3: 5}
	class := map[uint32]string{0: "5xx", 1: "2xx", 2: "2xx", 3: "4xx"}
	for _, row := range s.Rows {
		if row.Counters.Requests != want[row.Label] {
			t.Errorf("label %d %s: %d requests, want %d", row.Label, row.Side, row.Counters.Requests, want[row.Label])
		}
		for i := range row.Cells {
			if got := row.Cells[i].Class; got != "" && got != class[row.Label] {
				t.Errorf("label %d has class %s", row.Label, got)
			}
		}
	}
}
