//go:build linux

package bpf

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// attachCore attaches what there is no measuring without.
func (p *Probe) attachCore() error {
	for _, name := range []string{kernelProgOnRead, kernelProgOnRetransmit} {
		if err := p.attachTracepoint(name); err != nil {
			return refused(name, err)
		}
	}
	// Reading the payload needs bpf_dynptr_from_skb in tracing (Linux 6.12).
	err := p.attachTracepoint(kernelProgOnSegment)
	if p.options.Status || len(p.options.Prefixes) > 0 {
		if err != nil {
			unread := refused("reading segments", err)
			if set := p.spec.Variables[kernelVarReadsSkb].Set(false); set != nil {
				return set
			}
			err = p.attachTracepoint(kernelProgOnSegment)
			p.tier("segments read", unread)
		} else {
			p.tier("segments read", nil)
		}
	}
	if err != nil {
		return refused(kernelProgOnSegment, err)
	}
	if err := p.attachTracepoint(kernelProgOnReset); err != nil {
		p.tier("resets", refused(kernelProgOnReset, err))
	} else {
		p.tier("resets", nil)
	}
	return p.listen()
}

// attachState comes last: it begins to watch connections, and all that happens on
// them must be seen.
func (p *Probe) attachState() error {
	if err := p.attachTracepoint(kernelProgOnState); err != nil {
		return refused(kernelProgOnState, err)
	}
	p.tier("connections", nil)
	return nil
}

// listen opens the ring of outliers.
func (p *Probe) listen() error {
	if p.options.Outlier == 0 {
		return nil
	}
	reader, err := ringbuf.NewReader(p.maps[kernelMapEvents])
	if err != nil {
		return refused("ring of outliers", err)
	}
	p.events = reader
	p.closers = append(p.closers, reader.Close)
	return nil
}

// attachSend attaches what sees bytes leave: the first of two ways that works.
func (p *Probe) attachSend() error {
	var reason error
	if p.options.Packets {
		reason = errors.New("not asked for")
	} else if err := p.attachTracepoint(kernelProgOnSend); err != nil {
		reason = refused(kernelProgOnSend, err)
	}
	p.tier("writes by tracepoint", reason)
	if reason == nil {
		return nil
	}
	if p.options.Cgroup == "" {
		return errors.Join(reason, errors.New("seeing packets instead needs the gateway's control group"))
	}
	err := p.attachGroup(kernelProgOnPacket, ebpf.AttachCGroupInetEgress)
	if err != nil {
		return refused(kernelProgOnPacket, err)
	}
	p.tier("writes by packet", nil)
	return nil
}

// attachChannel serves the socket options of gateway/anatomy, if it can be: without
// them only tags and the exact moment of accept are missing.
func (p *Probe) attachChannel() error {
	const name = "channel and accept"
	if p.options.Cgroup == "" {
		p.tier(name, errors.New("the gateway has no control group of its own"))
		return nil
	}
	set, get := p.attachGroup(kernelProgOnSetsockopt, ebpf.AttachCGroupSetsockopt),
		p.attachGroup(kernelProgOnGetsockopt, ebpf.AttachCGroupGetsockopt)
	if set != nil {
		set = refused("cgroup/setsockopt (needs CAP_NET_ADMIN as well)", set)
	}
	if get != nil {
		get = refused("cgroup/getsockopt (needs CAP_NET_ADMIN as well)", get)
	}
	p.tier(name, errors.Join(set, get))
	if set != nil {
		return nil
	}
	v := p.spec.Variables[kernelVarSeesAccept]
	data := make([]byte, p.maps[v.SectionName].ValueSize())
	if err := p.maps[v.SectionName].Lookup(uint32(0), data); err != nil {
		return refused("map of variables", err)
	}
	data[v.Offset] = 1
	if err := p.maps[v.SectionName].Put(uint32(0), data); err != nil {
		return refused("map of variables", err)
	}
	return nil
}

func (p *Probe) attachTracepoint(name string) error {
	program, err := p.load(name)
	if err != nil {
		return err
	}
	defer program.Close() // the link holds it
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, l.Close)
	return nil
}

func (p *Probe) attachGroup(name string, how ebpf.AttachType) error {
	program, err := p.load(name)
	if err != nil {
		return err
	}
	defer program.Close()
	l, err := link.AttachCgroup(link.CgroupOptions{Path: p.options.Cgroup, Attach: how, Program: program})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, l.Close)
	return nil
}
