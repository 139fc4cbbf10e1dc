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
	service http.HandlerFunc
	ask     func(d *dissected, c *caller)
	phase   string
	low     time.Duration
	high    time.Duration
	fault   string
	by      [2]string // who measures it, without and with the probe
}

func quick(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "ok")
}

func plainly(_ *dissected, c *caller) {
	c.send(plainGet)
	c.receive()
}

var stalls = []stall{
	{
		name: "slow service", ask: plainly, phase: "upstream_service", low: 39 * time.Millisecond, high: 45 * time.Millisecond, fault: "upstream", by: [2]string{"user", "probe"},
		service: func(w http.ResponseWriter, r *http.Request) { pause(40 * time.Millisecond); quick(w, r) },
	},
	{
		name: "slow rest of an answer", ask: plainly, phase: "upstream_body", low: 39 * time.Millisecond, high: 45 * time.Millisecond, fault: "upstream", by: [2]string{"user", "user"},
		service: func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			pause(40 * time.Millisecond)
			quick(w, r)
		},
	},
	{
		name: "stopped gateway", service: quick, phase: "receive_queue", low: 56 * time.Millisecond, high: 66 * time.Millisecond, fault: "kernel_queue", by: [2]string{"tcp_info", "probe"},
		ask: func(d *dissected, c *caller) {
			d.signal(syscall.SIGSTOP)
			c.send(plainGet)
			pause(60 * time.Millisecond)
			d.signal(syscall.SIGCONT)
			c.receive()
		},
	},
	{
		name: "accepted late", service: quick, phase: "receive_queue", low: 56 * time.Millisecond, high: 66 * time.Millisecond, fault: "kernel_queue", by: [2]string{"tcp_info", "probe"},
		ask: func(d *dissected, _ *caller) {
			d.signal(syscall.SIGSTOP)
			c := d.call()
			c.send(plainGet)
			pause(60 * time.Millisecond)
			d.signal(syscall.SIGCONT)
			c.receive()
		},
	},
	{
		name: "slow upload", service: quick, phase: "client_send", low: 39 * time.Millisecond, high: 46 * time.Millisecond, fault: "client_network", by: [2]string{"user", "user"},
		ask: func(_ *dissected, c *caller) {
			c.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nab")
			pause(40 * time.Millisecond)
			c.send("cd")
			c.receive()
		},
	},
	{
		name: "slow reader", phase: "client_drain", low: 240 * time.Millisecond, high: 600 * time.Millisecond, fault: "client_network", by: [2]string{"user", "user"},
		service: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 8<<20)) },
		ask: func(_ *dissected, c *caller) {
			_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			c.send(plainGet)
			pause(300 * time.Millisecond) // of which the time to fill the buffers between, tens of milliseconds, is not drain
			c.receive()
		},
	},
}

// What a request waits for is in the phase that it belongs to, and in no other.
// Other work on the machine makes things later, which says nothing of the gateway:
// the best of some runs decides.
func TestTheRightPhaseMoves(t *testing.T) {
	for i, probe := range []bool{false, true} {
		for _, s := range stalls {
			t.Run(fmt.Sprintf("%s, probe %v", s.name, probe), func(t *testing.T) {
				d := startDissected(t, probe, s.service)
				c := d.call()
				wrong := ""
				for n := range 20 {
					s.ask(d, c)
					l := d.lines(n + 1)[n]
					got, others := l.phase(s.phase), l.sum()-l.phase(s.phase)
					wrong = ""
					if got < s.low || got > s.high || others > got/4 || l.Phases[s.phase].By != s.by[i] || l.Fault != s.fault {
						wrong = fmt.Sprintf("%s: %v, want %v to %v by %s, and %s to blame: %+v", s.phase, got, s.low, s.high, s.by[i], s.fault, l)
						continue
					}
					break
				}
				if wrong != "" {
					t.Error(wrong)
				}
			})
		}
	}
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
				plainly(d, c)
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
		})
	}
}

// The metrics get what the access log gets.
func TestPhasesInMetrics(t *testing.T) {
	d := startDissected(t, false, func(w http.ResponseWriter, r *http.Request) { pause(40 * time.Millisecond); quick(w, r) })
	c := d.call()
	for range 3 {
		plainly(d, c)
	}
	d.lines(3)
	m := d.scrape()
	m.want(t, "slow_requests_total", `verdict="upstream"`, 3)
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
