//go:build linux

package bpf

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Options say what to watch. Something must be named: a port, or a control group,
// or a process.
type Options struct {
	Listen   []Port // connections that are accepted there
	Upstream []Port // connections that are made to there
	// Netns is the inode of the network namespace; 0 is every one.
	Netns uint64
	// NetnsPath is where it can be entered, for walks over its connections; empty if
	// it is the probe's own.
	NetnsPath string
	// Cgroup is the folder of the gateway's control group, the channel of which is
	// then served. It must not be the root.
	Cgroup string
	// Process limits connections that begin at other ports than Upstream to this one.
	Process int
	// AnyListen watches every accepted connection, AnyUpstream every one that is made,
	// within Cgroup or Process.
	AnyListen, AnyUpstream bool
	// Labels is how many there can be, 0 included.
	Labels int
	// Status says whether status lines of HTTP/1 are read.
	Status bool
	// Prefixes give labels to paths, for processes that set no tags.
	Prefixes []Prefix
	// Outlier is from when on a request is reported by itself; 0 never.
	Outlier time.Duration
	// Settle is for how long nothing may move before a response counts as finished.
	Settle time.Duration
	// Packets sees what is sent as packets even where the tracepoint exists.
	Packets bool
}

// Port is a port, and what is spoken there.
type Port struct {
	Number     uint16
	Secure     bool // TLS: nothing is counted before the first tag
	Connection bool // HTTP/2: only the connection itself is measured
}

// Prefix gives a label to the paths that begin with it.
type Prefix struct {
	Path  string // of at most 32 bytes
	Label uint32
}

const (
	maxLabels = 4096
	maxPrefix = 32
)

// ParsePort reads NUMBER, NUMBER/tls or NUMBER/h2.
func ParsePort(text string) (Port, error) {
	number, what, named := strings.Cut(text, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return Port{}, fmt.Errorf("%q is no port: write 8080, 8443/tls or 9000/h2", text)
	}
	port := Port{Number: uint16(n)}
	switch {
	case !named:
	case what == "tls":
		port.Secure = true
	case what == "h2":
		port.Connection = true
	default:
		return Port{}, fmt.Errorf("%q: nothing is known of %q; write 8443/tls or 9000/h2", text, what)
	}
	return port, nil
}

// Check finds what makes no sense.
func (o *Options) Check() error {
	switch {
	case len(o.Listen)+len(o.Upstream) == 0 && o.Cgroup == "" && o.Process == 0:
		return fmt.Errorf("nothing to watch: name a port, a control group or a process")
	case (o.AnyListen || o.AnyUpstream) && o.Cgroup == "" && o.Process == 0:
		return fmt.Errorf("any connection of the whole machine is too much: name a control group or a process")
	case o.Labels < 1 || o.Labels > maxLabels:
		return fmt.Errorf("%d labels: there can be 1 to %d", o.Labels, maxLabels)
	case o.Settle <= 0:
		return fmt.Errorf("a settle time of %v: it must be more than nothing", o.Settle)
	case o.Outlier < 0:
		return fmt.Errorf("an outlier threshold of %v: it must not be negative", o.Outlier)
	}
	for _, p := range o.Prefixes {
		if !strings.HasPrefix(p.Path, "/") || len(p.Path) > maxPrefix {
			return fmt.Errorf("prefix %q: it begins with a slash and has at most %d bytes", p.Path, maxPrefix)
		}
		if int(p.Label) >= o.Labels {
			return fmt.Errorf("prefix %q has label %d of %d: allow more labels", p.Path, p.Label, o.Labels)
		}
	}
	return nil
}
