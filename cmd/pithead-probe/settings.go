//go:build linux

package main

import (
	"fmt"
	"math"
	"time"

	"github.com/spf13/pflag"

	"github.com/pithead/pithead/bpf"
)

// settings are what the command line says.
type settings struct {
	process       int
	cgroup        string
	listenPorts   []string
	upstreamPorts []string
	admin         string
	listen        string
	prefixes      []string
	labels        int
	status        bool
	outlier       time.Duration
	settle        time.Duration
	once          bool
	span          time.Duration
}

// flags say what to watch.
func (s *settings) flags(f *pflag.FlagSet) {
	f.IntVar(&s.process, "gateway", 0, "process to watch: its control group, network namespace and listening ports")
	f.StringVar(&s.cgroup, "cgroup", "", "control group to watch, a folder of cgroup2")
	f.StringSliceVar(&s.listenPorts, "port", nil, "ports to watch for connections that are accepted: 8080, 8443/tls or 9000/h2")
	f.StringSliceVar(&s.upstreamPorts, "upstream-port", nil, "ports to watch for connections that are made to upstreams, written alike")
	f.StringVar(&s.admin, "admin", "", "admin API of the gateway, which knows the names of labels: host:port, or unix: and a path")
	f.StringArrayVar(&s.prefixes, "prefix", nil, "tell requests apart by this prefix of their path, up to 32 bytes; for processes that are not pithead")
	f.IntVar(&s.labels, "labels", 64, "how many labels to tell apart; each takes 50 KiB on each CPU")
	f.BoolVar(&s.status, "status", true, "read the status of plaintext answers")
	f.DurationVar(&s.settle, "settle", 2*time.Second, "how long nothing may move until a response counts as finished")
}

// serving are the flags of the command that serves what it measures.
func (s *settings) serving(f *pflag.FlagSet) {
	f.StringVar(&s.listen, "listen", "127.0.0.1:9902", "where /metrics, /healthz, /snapshot and /outliers are served")
	f.DurationVar(&s.outlier, "outlier", 0, "report single requests that take at least this long; 0 for none")
	f.BoolVar(&s.once, "once", false, "write one snapshot as JSON and end")
	f.DurationVar(&s.span, "for", 10*time.Second, "with --once: how long to measure")
}

// options are what the programs need to know, and where names of labels come from.
func (s *settings) options() (bpf.Options, *names, error) {
	o := bpf.Options{Labels: s.labels, Status: s.status, Outlier: s.outlier, Settle: s.settle, Cgroup: s.cgroup}
	var err error
	if o.Listen, err = ports("port", s.listenPorts); err != nil {
		return o, nil, err
	}
	if o.Upstream, err = ports("upstream-port", s.upstreamPorts); err != nil {
		return o, nil, err
	}
	n := newNames(s.admin)
	for i, path := range s.prefixes {
		label := uint32(i + 1)
		o.Prefixes = append(o.Prefixes, bpf.Prefix{Path: path, Label: label})
		n.set(label, path)
	}
	if s.admin != "" && len(s.prefixes) > 0 {
		return o, nil, fmt.Errorf("--prefix and --admin: labels come either from paths or from the gateway")
	}
	if s.process < 0 || s.process > math.MaxInt32 {
		return o, nil, fmt.Errorf("--gateway %d is no process", s.process)
	}
	if err := s.target(&o); err != nil {
		return o, nil, err
	}
	return o, n, o.Check()
}

func ports(flag string, texts []string) (all []bpf.Port, err error) {
	for _, text := range texts {
		port, err := bpf.ParsePort(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		all = append(all, port)
	}
	return all, nil
}

// target finds out where the connections are that are meant. Without a process it
// is the probe's own network namespace.
func (s *settings) target(o *bpf.Options) (err error) {
	who := s.process
	if s.cgroup != "" {
		if err := bpf.CheckCgroup(s.cgroup); err != nil {
			return fmt.Errorf("--cgroup: %w", err)
		}
		if who == 0 {
			who = bpf.MemberOf(s.cgroup)
		}
	}
	if who == 0 {
		o.Netns, o.NetnsPath, err = bpf.OwnNetns()
	} else {
		o.Netns, o.NetnsPath, err = bpf.NetnsOf(who)
	}
	if err != nil {
		return err
	}
	if s.process != 0 && o.Cgroup == "" {
		if o.Cgroup, err = bpf.CgroupOf(s.process); err != nil {
			return fmt.Errorf("--gateway: %w", err)
		}
	}
	if o.Cgroup != "" {
		o.AnyListen, o.AnyUpstream = len(o.Listen) == 0, len(o.Upstream) == 0
		return nil
	}
	if s.process == 0 {
		return nil
	}
	// A process in the root group: its ports and its number are all that tells its
	// connections from those of others.
	o.Process, o.AnyUpstream = s.process, len(o.Upstream) == 0
	if len(o.Listen) == 0 {
		if o.Listen, err = bpf.ListenersOf(s.process); err != nil {
			return fmt.Errorf("--gateway: %w", err)
		}
	}
	return nil
}
