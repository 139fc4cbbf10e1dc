package discoverytest

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
)

// Fault is a way in which a Consul can misbehave.
type Fault int

// The faults that Fail can switch on.
const (
	None       Fault = iota
	Down             // breaks every connection off
	NoLeader         // 500 "No cluster leader", as during an election
	Leaderless       // answers stale reads, without a leader, from an empty state
	Forbidden        // 403 that repeats the token
	Hang             // takes queries and never answers
	HTML             // 200 with a page
	WrongJSON        // 200 with JSON of another shape
	Null             // 200 with a JSON null and none of Consul's headers
	Huge             // 200 with a list of 64 MiB
	IndexZero        // real answers with the index 0
	Redirect         // 302 to RedirectTo
)

// Check statuses of Consul.
const (
	Passing  = "passing"
	Warning  = "warning"
	Critical = "critical"
)

// Instance is a service instance in the catalogue of the fake.
type Instance struct {
	ID          string // default: Service
	Service     string
	Address     string // may be empty: then the node's counts
	Port        int
	Tags        []string
	Meta        map[string]string
	Weight      int    // default: 1, as in Consul
	Status      string // default: Passing
	NodeAddress string // default: 10.255.0.1
	Zone        string // of the node
}

// Consul is a Consul agent with a catalogue in memory. It speaks as much of the
// HTTP API as a gateway needs: /v1/health/service/ with blocking queries, and
// what an agent offers to services that register themselves.
type Consul struct {
	URL        string // of the API, "http://127.0.0.1:NNNN"
	RedirectTo string // where the fault Redirect leads to

	server *http.Server
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	stop   context.CancelFunc

	mu        sync.Mutex
	instances map[string]Instance
	index     uint64
	fault     Fault
	changed   chan struct{} // closed at each change
	calls     []Call
	waiting   int
	entries   map[string]Entry
}

// Call is a query that the fake has got.
type Call struct {
	Time  time.Time
	Query map[string][]string
	Token string
}

// NewConsul starts a fake on a free port of 127.0.0.1. Close ends it.
func NewConsul() *Consul {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // no loopback interface: nothing can be tested here
	}
	return start(l, (&net.Dialer{}).DialContext)
}

// NewConsulInMemory starts a fake that is reached by Dial alone, for tests
// inside a testing/synctest bubble.
func NewConsulInMemory() *Consul {
	l := newMemory()
	return start(l, l.dial)
}

func start(l net.Listener, dial func(context.Context, string, string) (net.Conn, error)) *Consul {
	ctx, stop := context.WithCancel(context.Background())
	c := &Consul{
		URL: "http://" + l.Addr().String(), dial: dial, stop: stop,
		instances: make(map[string]Instance), entries: make(map[string]Entry), index: 10, changed: make(chan struct{}),
	}
	c.server = &http.Server{Handler: c, BaseContext: func(net.Listener) context.Context { return ctx }, ReadHeaderTimeout: time.Minute}
	go func() { _ = c.server.Serve(l) }() // ends with Close
	return c
}

// Close ends the fake and all its connections.
func (c *Consul) Close() {
	c.stop()
	_ = c.server.Close() // closing a listener twice is harmless
}

// Dial connects to the fake, whatever the address.
func (c *Consul) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return c.dial(ctx, "tcp", strings.TrimPrefix(c.URL, "http://"))
}

// change runs f, moves the index and wakes all blocking queries.
func (c *Consul) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.index++
	close(c.changed)
	c.changed = make(chan struct{})
}

// Register adds instances or replaces those with the same ID.
func (c *Consul) Register(instances ...Instance) { c.change(func() { c.put(instances) }) }

// Replace makes instances the whole catalogue.
func (c *Consul) Replace(instances ...Instance) {
	c.change(func() { clear(c.instances); c.put(instances) })
}

func (c *Consul) put(instances []Instance) {
	for _, in := range instances {
		in.ID = cmp.Or(in.ID, in.Service)
		c.instances[in.ID] = in
	}
}

// Deregister takes an instance out of the catalogue.
func (c *Consul) Deregister(id string) { c.change(func() { delete(c.instances, id) }) }

// Reset forgets the catalogue and begins to count anew, as a restarted agent
// without data does.
func (c *Consul) Reset() {
	c.change(func() { clear(c.instances); clear(c.entries); c.index = 0 })
}

// SetHealth changes the status of an instance's check.
func (c *Consul) SetHealth(id, status string) {
	c.change(func() {
		in := c.instances[id]
		in.Status = status
		c.instances[id] = in
	})
}

// Touch moves the index without a change of the catalogue.
func (c *Consul) Touch() { c.change(func() {}) }

// SetIndex sets the index, also backwards.
func (c *Consul) SetIndex(index uint64) { c.change(func() { c.index = index - 1 }) }

// Fail switches a fault on, for the queries that wait already too. None mends all.
func (c *Consul) Fail(fault Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
	close(c.changed)
	c.changed = make(chan struct{})
}

// Calls are the queries for instances so far.
func (c *Consul) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// Waiting are the queries for instances that have no answer yet.
func (c *Consul) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

func (c *Consul) wait(change int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting += change
}

// ServeHTTP implements http.Handler.
func (c *Consul) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/v1/agent/") {
		c.serveAgent(w, r)
		return
	}
	service, ok := strings.CutPrefix(r.URL.Path, "/v1/health/service/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	query := r.URL.Query()
	c.mu.Lock()
	c.calls = append(c.calls, Call{Time: time.Now(), Query: query, Token: r.Header.Get("X-Consul-Token")})
	c.mu.Unlock()
	c.wait(1)
	defer c.wait(-1)
	index, _ := strconv.ParseUint(query.Get("index"), 10, 64) // without one the answer comes at once
	wait, err := time.ParseDuration(query.Get("wait"))
	if err != nil {
		wait = 5 * time.Minute
	}
	timeout := time.NewTimer(wait + wait/16)
	defer timeout.Stop()
	for expired := false; ; {
		c.mu.Lock()
		fault, now, changed := c.fault, c.index, c.changed
		c.mu.Unlock()
		if fault != Hang && (expired || fault != None || index == 0 || now > index) {
			c.answer(w, r, fault, service)
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			expired = true
		case <-r.Context().Done():
			return
		}
	}
}

func (c *Consul) answer(w http.ResponseWriter, r *http.Request, fault Fault, service string) {
	switch fault {
	case Down:
		panic(http.ErrAbortHandler)
	case NoLeader:
		http.Error(w, "No cluster leader", http.StatusInternalServerError)
	case Forbidden:
		http.Error(w, "Permission denied: token "+r.Header.Get("X-Consul-Token")+" lacks service:read", http.StatusForbidden)
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><body>captive portal</body></html>")
	case Null:
		_, _ = io.WriteString(w, "null")
	case Redirect:
		http.Redirect(w, r, c.RedirectTo, http.StatusFound)
	case WrongJSON:
		c.head(w, 99)
		_, _ = io.WriteString(w, `{"Service": []}`)
	case Huge:
		c.head(w, 99)
		chunk := []byte(strings.Repeat("null,", 1<<10))
		_, err := io.WriteString(w, "[")
		for written := 0; written < 64<<20 && err == nil; written += len(chunk) {
			_, err = w.Write(chunk)
		}
	case Leaderless:
		c.head(w, 1)
		w.Header().Set("X-Consul-Knownleader", "false")
		_, _ = io.WriteString(w, "[]")
	default: // None and IndexZero; Hang has no answer
		c.answerHealth(w, r, fault, service)
	}
}

func (c *Consul) answerHealth(w http.ResponseWriter, r *http.Request, fault Fault, service string) {
	tags := r.URL.Query()["tag"]
	c.mu.Lock()
	index := c.index
	all := slices.SortedFunc(maps.Values(c.instances), func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	c.mu.Unlock()
	if fault == IndexZero {
		index = 0
	}
	entries := make([]entry, 0, len(all))
	for _, in := range all {
		missing := slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(in.Tags, tag) })
		if in.Service == service && !missing {
			entries = append(entries, in.entry())
		}
	}
	c.head(w, index)
	if r.URL.Query().Has("index") { // as every agent since 1.10 that is not told otherwise
		w.Header().Set("X-Consul-Query-Backend", "streaming")
		w.Header().Set("X-Consul-Knownleader", "false")
	}
	_ = json.NewEncoder(w).Encode(entries) // a client that left needs no answer
}

func (c *Consul) head(w http.ResponseWriter, index uint64) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Consul-Index", strconv.FormatUint(index, 10))
	h.Set("X-Consul-Knownleader", "true")
	h.Set("X-Consul-Lastcontact", "0")
}

// The shape of an entry of /v1/health/service.
type (
	entry struct {
		Node    node
		Service service
		Checks  []check
	}
	node struct {
		Node, Address string
		Locality      *locality `json:",omitempty"`
	}
	locality struct{ Region, Zone string }
	service  struct {
		ID, Service, Address string
		Port                 int
		Tags                 []string
		Meta                 map[string]string
		Weights              struct{ Passing, Warning int }
	}
	check struct{ CheckID, Status string }
)

func (in Instance) entry() entry {
	e := entry{
		Node:    node{Node: "fake", Address: cmp.Or(in.NodeAddress, "10.255.0.1")},
		Service: service{ID: in.ID, Service: in.Service, Address: in.Address, Port: in.Port, Tags: in.Tags, Meta: in.Meta},
		Checks:  []check{{"serfHealth", Passing}, {"service:" + in.ID, cmp.Or(in.Status, Passing)}},
	}
	if in.Zone != "" {
		e.Node.Locality = &locality{Zone: in.Zone}
	}
	e.Service.Weights.Passing, e.Service.Weights.Warning = cmp.Or(in.Weight, 1), 1
	return e
}

// Instances are targets as passing instances of a service.
func Instances(service string, targets []gateway.Target) []Instance {
	var instances []Instance
	for _, t := range targets {
		host, portText, err := net.SplitHostPort(t.Addr)
		port, errPort := strconv.Atoi(portText)
		if err != nil || errPort != nil {
			panic("discoverytest: " + t.Addr + " is not host:port")
		}
		instances = append(instances, Instance{
			ID: service + "-" + t.Addr, Service: service, Address: host, Port: port, Tags: t.Tags, Meta: t.Meta, Weight: t.Weight, Zone: t.Zone,
		})
	}
	return instances
}
