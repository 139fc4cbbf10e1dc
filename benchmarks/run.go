package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// The proxy under test has a core to itself.
const (
	proxyCore = 0
	otherCore = 1
)

// runOptions say how long to measure what.
type runOptions struct {
	peers  []peer
	cases  []testCase
	rounds int
	time   time.Duration
	warm   time.Duration
	log    *slog.Logger
}

// sample is what one round measured of one peer in one case.
type sample struct {
	closed loadResult
	open   loadResult
	cpu    time.Duration // of the proxy during the closed loop
	memory int64         // resident, right after it
}

// results are the samples of all rounds by peer and case.
type results map[string]map[string][]sample

// run measures round by round. In each one every peer is started, measured and
// stopped, one after the other and each time in another order, so that what the
// machine does beside hits all of them alike.
func run(ctx context.Context, o runOptions) (results, error) {
	dir, err := os.MkdirTemp("", "pithead-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary folder
	m, err := newMachine(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer m.close()
	all := make(results)
	for _, p := range o.peers {
		all[p.name] = make(map[string][]sample)
	}
	for round := range o.rounds {
		for i := range o.peers {
			p := &o.peers[(i+round)%len(o.peers)]
			o.log.Info("measuring", "round", round+1, "of", o.rounds, "proxy", p.name)
			for _, k := range kinds {
				if err := m.measure(ctx, o, p, k, all[p.name]); err != nil {
					return nil, fmt.Errorf("%s: %w", p.name, err)
				}
			}
		}
	}
	return all, nil
}

// machine is what stays the same during a run: the origin and the files.
type machine struct {
	self    string
	setup   setup
	origin  *process
	scratch string
}

func newMachine(ctx context.Context, dir string) (*machine, error) {
	m := &machine{scratch: dir}
	var err error
	if m.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if m.setup.Cert, m.setup.Key, m.setup.Both, err = writeCertificate(dir); err != nil {
		return nil, err
	}
	for _, addr := range []*string{&m.setup.H1, &m.setup.H2C} {
		if *addr, err = freeAddr(ctx); err != nil {
			return nil, err
		}
	}
	if m.origin, err = startOn(otherCore, dir, m.self, "origin", "-h1", m.setup.H1, "-h2c", m.setup.H2C); err != nil {
		return nil, err
	}
	if err := accepts(ctx, m.setup.H1, m.origin.ended); err != nil {
		m.close()
		return nil, fmt.Errorf("origin: %w\n%s", err, m.origin.out)
	}
	return m, nil
}

func (m *machine) close() {
	_ = m.origin.stop() // it has nothing to lose
}

func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// measure runs all cases of one kind on one peer.
func (m *machine) measure(ctx context.Context, o runOptions, p *peer, k kind, to map[string][]sample) error {
	var chosen []testCase
	for _, c := range o.cases {
		if _, not := p.not[c.name]; c.kind == k && !not {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	s := m.setup
	s.Kind = k
	var err error
	if s.Dir, err = os.MkdirTemp(m.scratch, p.name); err != nil {
		return err
	}
	if s.Addr, err = freeAddr(ctx); err != nil {
		return err
	}
	if s.Admin, err = freeAddr(ctx); err != nil {
		return err
	}
	if _, s.Port, err = net.SplitHostPort(s.Addr); err != nil {
		return err
	}
	proxy, err := p.start(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = proxy.stop() }() // it is not needed any more
	if err := answers(ctx, chosen[0], s.Addr); err != nil {
		return fmt.Errorf("%w\n%s", err, proxy.out)
	}
	for _, c := range chosen {
		one, err := m.sample(ctx, o, proxy, c, s.Addr)
		if err != nil {
			return fmt.Errorf("case %s: %w\n%s", c.name, err, proxy.out)
		}
		to[c.name] = append(to[c.name], one)
	}
	return nil
}

// answers waits until the proxy does what it is there for. Some of them listen
// before they have their routes.
func answers(ctx context.Context, c testCase, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c.conns = 1
	for {
		clients, err := newClients(ctx, loadOptions{test: c, addr: addr})
		if err == nil {
			err = clients[0].do(ctx)
			clients[0].close()
		}
		if err == nil {
			return nil
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("it does not answer: %w", err)
		}
	}
}

func (m *machine) sample(ctx context.Context, o runOptions, proxy *process, c testCase, addr string) (s sample, err error) {
	var before, after time.Duration
	closed := loadOptions{test: c, addr: addr, warm: o.warm, time: o.time}
	s.closed, err = m.load(ctx, closed, func() (err error) { before, err = proxy.cpu(); return err },
		func() (err error) { after, err = proxy.cpu(); return err })
	if err != nil {
		return s, err
	}
	s.cpu = after - before
	if s.memory, err = proxy.memory(); err != nil {
		return s, err
	}
	open := closed
	open.rate = c.rate
	nothing := func() error { return nil }
	s.open, err = m.load(ctx, open, nothing, nothing)
	return s, err
}

// load runs the clients in a process of their own and calls begin and end in
// the moments in which the measured time begins and ends.
func (m *machine) load(ctx context.Context, o loadOptions, begin, end func() error) (r loadResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.warm+o.time+30*time.Second)
	defer cancel()
	read, write, err := os.Pipe()
	if err != nil {
		return r, err
	}
	defer func() { _ = read.Close() }() // it is only read
	clients, err := startWith(write, strconv.Itoa(otherCore), m.scratch, m.self, "load", "-case", o.test.name, "-addr", o.addr,
		"-rate", strconv.Itoa(o.rate), "-warm", o.warm.String(), "-time", o.time.String())
	_ = write.Close() // the clients have it
	if err != nil {
		return r, err
	}
	defer func() { _ = clients.stop() }() // it has ended, or is of no use
	context.AfterFunc(ctx, func() { _ = read.Close() })
	lines := bufio.NewReader(read)
	for _, step := range []func() error{begin, end} {
		if _, err := lines.ReadString('\n'); err != nil {
			return r, fmt.Errorf("the clients ended early: %w\n%s", err, clients.out)
		}
		if err := step(); err != nil {
			return r, err
		}
	}
	if err := json.NewDecoder(lines).Decode(&r); err != nil {
		return r, fmt.Errorf("the clients' result: %w\n%s", err, clients.out)
	}
	return r, nil
}
