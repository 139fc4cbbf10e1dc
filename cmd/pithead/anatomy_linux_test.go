package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// dissected is a gateway that samples every request.
type dissected struct {
	*gatewayUnderLoad

	probe *probed // nil without one
}

// startDissected starts a gateway before a service, in a control group of its own
// with a probe if asked for.
func startDissected(t *testing.T, probe bool, service http.HandlerFunc) *dissected {
	t.Helper()
	back := httptest.NewServer(service)
	t.Cleanup(back.Close)
	d := &dissected{gatewayUnderLoad: newGateway(t, "listeners: {web: {address: ADDRESS}}\nanatomy: {sample: 100%, slow: 35ms}\n")}
	d.save("routes.d/r.yaml", "upstreams: {u: {discover: {static: {targets: ['"+back.Listener.Addr().String()+"']}}}}\n"+
		"routes: [{name: r, match: {prefix: /}, body_limit: 64MiB, to: u}]\n")
	if probe {
		group := controlGroup(t)
		inGroup(t, d.gatewayUnderLoad, group)
		d.probe = startProbe(t, group)
	}
	d.run()
	return d
}

// took are the phases of a line of the access log.
type took struct {
	Fault  string `json:"whose_fault"`
	Phases map[string]struct {
		Ms float64
		By string
	}
}

func (l *took) phase(name string) time.Duration {
	return time.Duration(l.Phases[name].Ms * float64(time.Millisecond))
}

func (l *took) sum() (all time.Duration) {
	for name := range l.Phases {
		all += l.phase(name)
	}
	return all
}

// lines waits for the first n lines of the access log.
func (d *dissected) lines(n int) (all []took) {
	d.t.Helper()
	d.until(fmt.Sprintf("%d lines in the log", n), func() bool {
		text, _ := os.ReadFile(d.written("access.log"))
		if bytes.Count(text, []byte("\n")) < n {
			return false
		}
		all = nil
		for raw := range bytes.Lines(text) {
			var l took
			if err := json.Unmarshal(raw, &l); err != nil {
				d.t.Fatalf("%v in %s", err, raw)
			}
			all = append(all, l)
		}
		return true
	})
	return all
}

// caller is a client with one connection.
type caller struct {
	net.Conn

	t      *testing.T
	answer *bufio.Reader
}

func (d *dissected) call() *caller {
	d.t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	return &caller{conn, d.t, bufio.NewReader(conn)}
}

func (c *caller) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

const plainGet = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

// receive reads an answer to its end.
func (c *caller) receive() *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.answer, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

// pause is how long the parts of these tests wait.
func pause(d time.Duration) { <-time.After(d) }

// stall is a request that takes long for one reason.
type stall struct {
	name    string
	pause   time.Duration // that is made
	service func(pause time.Duration, w http.ResponseWriter, r *http.Request)
	ask     func(d *dissected, c *caller, pause time.Duration)
	phase   string
	share   float64 // of the pause that the phase has at least
	fault   string
	by      [2]string // who measures it, without and with the probe
}

func quick(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "ok")
}

func quickly(_ time.Duration, w http.ResponseWriter, r *http.Request) { quick(w, r) }

func plainly(_ *dissected, c *caller, _ time.Duration) {
	c.send(plainGet)
	c.receive()
}

var stalls = []stall{
	{
		name: "slow service", pause: 40 * time.Millisecond, ask: plainly, phase: "upstream_service", share: 0.97, fault: "upstream", by: [2]string{"user", "probe"},
		service: func(d time.Duration, w http.ResponseWriter, r *http.Request) { pause(d); quick(w, r) },
	},
	{
		name: "slow rest of an answer", pause: 40 * time.Millisecond, ask: plainly, phase: "upstream_body", share: 0.97, fault: "upstream", by: [2]string{"user", "user"},
		service: func(d time.Duration, w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			pause(d)
			quick(w, r)
		},
	},
	{
		name: "stopped gateway", pause: 60 * time.Millisecond, service: quickly, phase: "receive_queue", share: 0.93, fault: "kernel_queue", by: [2]string{"tcp_info", "probe"},
		ask: func(d *dissected, c *caller, length time.Duration) {
			d.signal(syscall.SIGSTOP)
			c.send(plainGet)
			pause(length)
			d.signal(syscall.SIGCONT)
			c.receive()
		},
	},
	{
		name: "accepted late", pause: 60 * time.Millisecond, service: quickly, phase: "receive_queue", share: 0.93, fault: "kernel_queue", by: [2]string{"tcp_info", "probe"},
		ask: func(d *dissected, _ *caller, length time.Duration) {
			d.signal(syscall.SIGSTOP)
			c := d.call()
			c.send(plainGet)
			pause(length)
			d.signal(syscall.SIGCONT)
			c.receive()
		},
	},
	{
		name: "slow upload", pause: 40 * time.Millisecond, service: quickly, phase: "client_send", share: 0.97, fault: "client_network", by: [2]string{"user", "user"},
		ask: func(_ *dissected, c *caller, length time.Duration) {
			c.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nab")
			pause(length)
			c.send("cd")
			c.receive()
		},
	},
	{
		name: "slow reader", pause: 300 * time.Millisecond, phase: "client_drain", fault: "client_network", by: [2]string{"user", "user"},
		share:   0.75, // the time to fill the buffers between is not drain
		service: func(_ time.Duration, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 8<<20)) },
		ask: func(_ *dissected, c *caller, length time.Duration) {
			_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			c.send(plainGet)
			pause(length)
			c.receive()
		},
	},
}

// What a request waits for is in the phase that it belongs to, and in no other. Other
// work on the machine makes things later, which says nothing of the gateway: a pause
// that is longer stands out from it, and one run in which it does is enough.
func TestTheRightPhaseMoves(t *testing.T) {
	for i, probe := range []bool{false, true} {
		for _, s := range stalls {
			t.Run(fmt.Sprintf("%s, probe %v", s.name, probe), func(t *testing.T) {
				var length atomic.Int64
				d := startDissected(t, probe, func(w http.ResponseWriter, r *http.Request) { s.service(time.Duration(length.Load()), w, r) })
				c := d.call()
				wrong := ""
				for n := range 20 {
					made := s.pause << (n / 4)
					length.Store(int64(made))
					begun := time.Now()
					s.ask(d, c, made)
					wall := time.Since(begun)
					l := d.lines(n + 1)[n]
					if wrong = s.judge(&l, made, wall, s.by[i]); wrong == "" {
						return
					}
				}
				t.Error(wrong)
			})
		}
	}
}

// judge says what is wrong with the line of a request for which the client has waited as
// long as the wall clock says, because of a pause.
func (s *stall) judge(l *took, made, wall time.Duration, by string) string {
	got, others := l.phase(s.phase), l.sum()-l.phase(s.phase)
	least := time.Duration(float64(made) * s.share)
	switch {
	case s.phase == "client_drain":
		wall += wall / 4 // the gateway looks now and then whether the client has everything
	case by == "tcp_info":
		wall += 6 * time.Millisecond // the kernel rounds
	}
	if got >= least && got <= wall && others <= got/4 && l.Phases[s.phase].By == by && l.Fault == s.fault {
		return ""
	}
	return fmt.Sprintf("%s: %v, want %v to %v by %s, and %s to blame: %+v", s.phase, got, least, wall, by, s.fault, *l)
}

// What the client measures is what the phases add up to.
func TestPhasesSumToTheWallTime(t *testing.T) {
	for _, probe := range []bool{false, true} {
		t.Run(fmt.Sprintf("probe %v", probe), func(t *testing.T) {
			d := startDissected(t, probe, func(w http.ResponseWriter, r *http.Request) { pause(20 * time.Millisecond); quick(w, r) })
			c := d.call()
			var walls []time.Duration
			for range 100 {
				begun := time.Now()
				plainly(d, c, 0)
				walls = append(walls, time.Since(begun))
			}
			best := time.Hour
			for i, l := range d.lines(len(walls)) {
				allowed := max(walls[i]/100, 50*time.Microsecond)
				if raceDetector {
					allowed *= 3 // it makes everything slow that no phase can see: the client, and what net/http does around the handler
				}
				best = min(best, (walls[i]-l.sum()).Abs()-allowed)
			}
			if best > 0 {
				t.Errorf("the phases are off by %v more than is allowed", best)
			}
			t.Logf("the best is off by %v less than is allowed", -best)
		})
	}
}

// The metrics get what the access log gets.
func TestPhasesInMetrics(t *testing.T) {
	d := startDissected(t, false, func(w http.ResponseWriter, r *http.Request) { pause(40 * time.Millisecond); quick(w, r) })
	c := d.call()
	for range 3 {
		plainly(d, c, 0)
	}
	d.lines(3)
	m := d.scrape()
	// A busy machine may let one of them lie in the kernel for as long.
	m.want(t, "slow_requests_total", "", 3)
	if m.sum("slow_requests_total", `verdict="upstream"`) == 0 {
		t.Error("no request was slow because of its upstream")
	}
	m.want(t, "request_phase_seconds_count", `phase="upstream_service"`, 3)
	for _, part := range []string{"accept", "receive_queue", "scheduler"} {
		if !m.has(`pithead_saturation_seconds{part="` + part + `"}`) {
			t.Errorf("no saturation of %s", part)
		}
	}
	if _, text := d.get("/-/labels"); !strings.Contains(text, `"route": "r"`) {
		t.Errorf("labels: %s", text)
	}
	// The drain is known when the client had the time to acknowledge.
	d.until("the drains", func() bool { return d.scrape().sum("request_phase_seconds_count", `phase="client_drain"`) == 3 })
}
