//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
)

// Probe is the programs at work. It is for several goroutines.
type Probe struct {
	options Options
	spec    *ebpf.CollectionSpec
	maps    map[string]*ebpf.Map
	closers []func() error
	events  *ringbuf.Reader
	sweeper *link.Iter
	tiers   []Tier
	loaded  map[string]*ebpf.Program // but not attached yet

	mu    sync.Mutex
	cells map[uint32]*cell
	room  []kernelRow
}

// Tier is a part of what can be measured.
type Tier struct {
	Name   string `json:"name"`
	Active bool   `json:"active"`
	Reason string `json:"reason,omitempty"` // why it is not
}

// Load loads and attaches the programs. The caller must Close the probe.
func Load(options Options) (*Probe, error) {
	if err := options.Check(); err != nil {
		return nil, err
	}
	if err := privileged(); err != nil {
		return nil, err
	}
	_ = rlimit.RemoveMemlock() // needed before Linux 5.11 only, where loading says so
	spec, err := loadKernel()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKernel, err)
	}
	p := &Probe{options: options, spec: spec, cells: map[uint32]*cell{}}
	if err := p.start(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) start() error {
	for _, step := range []func() error{p.setConstants, p.makeMaps, p.fillMaps, p.loadAll, p.attachCore, p.attachSend, p.attachChannel, p.attachState, p.seed} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// setConstants writes what the programs are compiled with; what is off is then
// not even verified.
func (p *Probe) setConstants() error {
	o := &p.options
	group := uint64(0)
	if o.Cgroup != "" {
		var stat syscall.Stat_t
		if err := syscall.Stat(o.Cgroup, &stat); err != nil {
			return fmt.Errorf("control group %s: %w", o.Cgroup, err)
		}
		group = stat.Ino
	}
	for name, value := range map[string]any{
		kernelVarOnlyNetns: uint32(o.Netns), kernelVarOnlyProcess: uint32(o.Process), kernelVarOnlyCgroup: group,
		kernelVarAnyListen: o.AnyListen, kernelVarAnyUpstream: o.AnyUpstream,
		kernelVarParseStatus: o.Status, kernelVarParsePath: len(o.Prefixes) > 0,
		kernelVarReadsSkb: o.Status || len(o.Prefixes) > 0,
		kernelVarLabels:   uint32(o.Labels), kernelVarOutlierNs: uint64(o.Outlier), kernelVarSettleNs: uint64(o.Settle),
	} {
		if err := p.spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("constant %s: %w", name, err)
		}
	}
	return nil
}

func (p *Probe) makeMaps() error {
	p.spec.Maps[kernelMapRows].MaxEntries = uint32(p.options.Labels) * sides
	if p.options.Outlier == 0 {
		p.spec.Maps[kernelMapEvents].MaxEntries = uint32(os.Getpagesize())
	}
	spec := p.spec.Copy()
	spec.Programs = nil
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return refused("maps", err)
	}
	p.maps = all.Maps
	for _, m := range p.maps {
		p.closers = append(p.closers, m.Close)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKernel, err)
	}
	p.room = make([]kernelRow, cpus)
	return nil
}

func (p *Probe) fillMaps() error {
	put := func(port Port, bits uint8) error {
		if port.Secure {
			bits |= 4
		}
		if port.Connection {
			bits |= 8
		}
		var old uint8
		if p.maps[kernelMapPorts].Lookup(port.Number, &old) == nil {
			bits |= old
		}
		return p.maps[kernelMapPorts].Put(port.Number, bits)
	}
	for _, port := range p.options.Listen {
		if err := put(port, 1); err != nil {
			return refused("map of ports", err)
		}
	}
	for _, port := range p.options.Upstream {
		if err := put(port, 2); err != nil {
			return refused("map of ports", err)
		}
	}
	for _, prefix := range p.options.Prefixes {
		key := kernelPrefix{Bits: uint32(len(prefix.Path) * 8)}
		copy(key.Path[:], prefix.Path)
		if err := p.maps[kernelMapPrefixes].Put(&key, prefix.Label); err != nil {
			return refused("map of prefixes", err)
		}
	}
	return nil
}

// loadAll puts all programs into the kernel at once, which is much faster than one
// by one. If it fails they are tried one by one, to find out which cannot be had.
func (p *Probe) loadAll() error {
	spec := p.spec.Copy()
	if !p.options.Packets {
		delete(spec.Programs, kernelProgOnPacket)
	} else {
		delete(spec.Programs, kernelProgOnSend)
	}
	if p.options.Cgroup == "" {
		delete(spec.Programs, kernelProgOnSetsockopt)
		delete(spec.Programs, kernelProgOnGetsockopt)
	}
	if loaded, err := p.collection(spec); err == nil {
		p.loaded = loaded
	}
	return nil
}

func (p *Probe) collection(spec *ebpf.CollectionSpec) (map[string]*ebpf.Program, error) {
	shared := maps.Clone(p.maps)
	delete(shared, ".rodata") // programs may have constants of their own
	all, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return nil, err
	}
	programs := all.Programs
	all.Programs = nil
	all.Close() // the copies of maps
	return programs, nil
}

// load is a program in the kernel, which the caller must close.
func (p *Probe) load(name string) (*ebpf.Program, error) {
	if program := p.loaded[name]; program != nil {
		delete(p.loaded, name)
		return program, nil
	}
	spec := p.spec.Copy()
	spec.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	programs, err := p.collection(spec)
	return programs[name], err
}

// Tiers says what is measured, and what is not and why.
func (p *Probe) Tiers() []Tier { return p.tiers }

func (p *Probe) tier(name string, err error) {
	t := Tier{Name: name, Active: err == nil}
	if err != nil {
		t.Reason = err.Error()
	}
	p.tiers = append(p.tiers, t)
}

// Close takes the programs out of the kernel.
func (p *Probe) Close() error {
	var all []error
	for _, program := range p.loaded {
		all = append(all, program.Close())
	}
	p.loaded = nil
	for _, closer := range slices.Backward(p.closers) {
		all = append(all, closer())
	}
	p.closers = nil
	return errors.Join(all...)
}
