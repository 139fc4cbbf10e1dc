package discovery

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pithead/pithead/gateway"
)

const (
	dnsMaxAddresses = 64 // of one name
	dnsMaxServices  = 64
	dnsAtOnce       = 8 // names looked up at the same time
	dnsMaxTroubles  = 4 // names that cannot be looked up before the rest is left for the next time
)

var errTroubles = errors.New("too many names could not be looked up")

// dnsSet is what one look at DNS has found.
type dnsSet struct {
	targets []gateway.Target // sorted by address, without duplicates
	ttl     time.Duration
	skipped skips
}

// look makes a set. A set beside an error is one in which names that could not
// be looked up have their last addresses.
func (w *dnsWatch) look(ctx context.Context) (*dnsSet, error) {
	w.client.servers = w.servers
	if len(w.servers) == 0 {
		var err error
		if w.client.servers, err = readServers(w.conf); err != nil {
			return nil, err
		}
	}
	set := &dnsSet{ttl: dnsMaxTTL}
	services := []dnsService{{host: w.name, port: uint16(w.Port), weight: 1}}
	if w.SRV {
		answer, err := w.client.ask(ctx, w.name, dnsmessage.TypeSRV)
		if err != nil {
			return nil, err
		}
		services, set.ttl = nearest(answer.services, &set.skipped), answer.ttl
	}
	hosts := w.hosts(ctx, services)
	known, answered := make(map[string][]netip.Addr, len(services)), w.SRV
	var err error
	for _, service := range services {
		host := hosts[service.host]
		known[service.host] = host.addrs
		answered = answered || host.answered
		err = cmp.Or(err, host.err)
		set.ttl = min(set.ttl, host.ttl)
		set.add(service, host.addrs, w.loopback)
	}
	if err != nil && (!answered || len(set.targets) == 0) {
		return nil, err
	}
	set.sort()
	w.known = known
	return set, err
}

// nearest are the services of the lowest priority, with weights that a target
// can have.
func nearest(services []dnsService, skipped *skips) []dnsService {
	byPriority := func(a, b dnsService) int { return cmp.Compare(a.priority, b.priority) }
	// The root is how a domain says that it has no such service. Beside other
	// records it says nothing (RFC 2782).
	services = slices.DeleteFunc(services, func(s dnsService) bool { return s.host == "." })
	if len(services) == 0 {
		return nil
	}
	lowest := slices.MinFunc(services, byPriority).priority
	var near []dnsService
	heaviest := 100
	for _, s := range services {
		if s.priority != lowest {
			continue
		}
		if _, err := parseName(s.host); err != nil {
			skipped.add(s.host, err.Error())
			continue
		}
		heaviest = max(heaviest, int(s.weight))
		near = append(near, s)
	}
	for i := range near {
		near[i].weight = uint16(max(int(near[i].weight)*100/heaviest, 1))
	}
	// In a fixed order, cutting takes the same part each time.
	slices.SortFunc(near, func(a, b dnsService) int {
		return cmp.Or(strings.Compare(a.host, b.host), cmp.Compare(a.port, b.port), cmp.Compare(b.weight, a.weight))
	})
	near = slices.CompactFunc(near, func(a, b dnsService) bool { return a.host == b.host && a.port == b.port })
	if n := len(near); n > dnsMaxServices {
		near = near[:dnsMaxServices]
		skipped.cut, skipped.limit = n-dnsMaxServices, dnsMaxServices
	}
	return near
}

// add makes targets of the addresses of a service.
func (set *dnsSet) add(service dnsService, addrs []netip.Addr, allowLoopback bool) {
	room := dnsMaxAddresses
	for _, ip := range addrs {
		addr, err := joinAddress(ip.String(), int(service.port))
		if err != nil {
			set.skipped.add(service.host, err.Error())
			continue
		}
		if why := denied(addr, allowLoopback); why != "" {
			set.skipped.add(service.host, addr+" is denied: "+why)
			continue
		}
		if room--; room < 0 {
			set.skipped.cut++
			set.skipped.limit = dnsMaxAddresses
			continue
		}
		set.targets = append(set.targets, gateway.Target{Addr: addr, Weight: int(service.weight)})
	}
}

func (set *dnsSet) sort() {
	slices.SortFunc(set.targets, func(a, b gateway.Target) int {
		return cmp.Or(strings.Compare(a.Addr, b.Addr), cmp.Compare(b.Weight, a.Weight))
	})
	set.targets = slices.CompactFunc(set.targets, func(a, b gateway.Target) bool { return a.Addr == b.Addr })
}

// dnsHost are the addresses of one name.
type dnsHost struct {
	addrs    []netip.Addr // sorted
	ttl      time.Duration
	answered bool  // some of it
	err      error // why the rest is as it was
}

// hosts looks up all names of the services.
func (w *dnsWatch) hosts(ctx context.Context, services []dnsService) map[string]*dnsHost {
	hosts := make(map[string]*dnsHost, len(services))
	for _, s := range services {
		hosts[s.host] = new(dnsHost)
	}
	var wg sync.WaitGroup
	var troubles atomic.Int32
	slots := make(chan struct{}, dnsAtOnce)
	for name, host := range hosts { // in another order each time, so that troubles of some do not always stop the same others
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if troubles.Load() >= dnsMaxTroubles {
				*host = dnsHost{addrs: w.known[name], err: errTroubles}
				return
			}
			*host = w.host(ctx, name)
			if host.err != nil && !errors.Is(host.err, dnsFailure(dnsmessage.RCodeNameError)) {
				troubles.Add(1)
			}
		})
	}
	wg.Wait()
	return hosts
}

// host looks up one name. Addresses of a family that cannot be looked up, and
// of those after it, stay as they were: there are servers that fail for AAAA alone.
func (w *dnsWatch) host(ctx context.Context, name string) dnsHost {
	host, absent := dnsHost{ttl: dnsMaxTTL}, dnsMaxTTL
	for i, typ := range w.types {
		answer, err := w.client.ask(ctx, name, typ)
		if err != nil {
			host.err, host.ttl = err, 0
			for _, addr := range w.known[name] {
				if i == 0 || addr.Is6() {
					host.addrs = append(host.addrs, addr)
				}
			}
			break
		}
		host.answered = true
		if len(answer.addrs) == 0 {
			absent = min(absent, answer.ttl)
			continue
		}
		host.ttl = min(host.ttl, answer.ttl)
		host.addrs = append(host.addrs, answer.addrs...)
	}
	if len(host.addrs) == 0 { // how long a family is absent counts only if there is no other
		host.ttl = min(host.ttl, absent)
	}
	slices.SortFunc(host.addrs, netip.Addr.Compare)
	host.addrs = slices.Compact(host.addrs)
	return host
}
