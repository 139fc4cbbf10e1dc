package discovery

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/pithead/pithead/gateway"
)

// Bounds of what an instance may carry along. Consul has such bounds itself, but
// not every catalogue is written by Consul's rules, and labels are copied into
// the gateway's memory for each instance.
const (
	maxLabels = 64
	maxLabel  = 512
)

// consulInstance is what the gateway reads of one entry of the catalogue.
type consulInstance struct {
	id          string
	address     string // of the service; may be empty
	nodeAddress string
	port        int
	weight      int // of the service definition, for passing instances
	zone        string
	tags        []string
	meta        map[string]string
	passing     bool
}

// consulSet is an answer of Consul, understood.
type consulSet struct {
	targets   []gateway.Target // sorted by address, without duplicates
	unhealthy int              // instances that Consul knows but that do not pass their checks
	skipped   skips
}

// readInstances makes a set of targets. One bad instance never spoils the others.
func readInstances(instances []consulInstance, allowLoopback bool) consulSet {
	var set consulSet
	for _, in := range instances {
		if !in.passing {
			set.unhealthy++
			continue
		}
		addr, err := joinAddress(cmp.Or(in.address, in.nodeAddress), in.port)
		if err != nil {
			set.skipped.add(in.id, err.Error())
			continue
		}
		if why := denied(addr, allowLoopback); why != "" {
			set.skipped.add(in.id, addr+" is denied: "+why)
			continue
		}
		meta := boundMeta(in.meta)
		set.targets = append(set.targets, gateway.Target{
			Addr: addr, Weight: in.targetWeight(), Zone: cmp.Or(meta["zone"], in.zone), Tags: boundTags(in.tags), Meta: meta,
		})
	}
	// A fixed order makes equal sets equal, and cutting them takes the same part each time.
	slices.SortStableFunc(set.targets, func(a, b gateway.Target) int { return strings.Compare(a.Addr, b.Addr) })
	set.targets = slices.CompactFunc(set.targets, func(a, b gateway.Target) bool { return a.Addr == b.Addr })
	if n := len(set.targets); n > maxTargets {
		set.targets = set.targets[:maxTargets:maxTargets]
		set.skipped.cut, set.skipped.limit = n-maxTargets, maxTargets
	}
	return set
}

// targetWeight prefers the meta weight to the one of the service definition,
// because the latter needs another registration API and is often left at 1.
func (in *consulInstance) targetWeight() int {
	w, err := strconv.ParseFloat(in.meta["weight"], 64)
	if err != nil || math.IsNaN(w) {
		w = float64(in.weight)
	}
	return int(min(max(w, 1), 100))
}

func boundTags(tags []string) []string {
	tags = slices.DeleteFunc(sortedTags(tags), func(t string) bool { return len(t) > maxLabel })
	return tags[:min(len(tags), maxLabels)]
}

func boundMeta(meta map[string]string) map[string]string {
	if len(meta) == 0 {
		return nil
	}
	bound := make(map[string]string, min(len(meta), maxLabels))
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		if len(bound) < maxLabels && len(key) <= maxLabel && len(meta[key]) <= maxLabel {
			bound[key] = meta[key]
		}
	}
	return bound
}

func consulInstances(entries []*api.ServiceEntry) []consulInstance {
	instances := make([]consulInstance, 0, len(entries))
	for _, e := range entries {
		if e == nil || e.Service == nil {
			continue
		}
		in := consulInstance{
			id: e.Service.ID, address: e.Service.Address, port: e.Service.Port, weight: e.Service.Weights.Passing,
			tags: e.Service.Tags, meta: e.Service.Meta, passing: consulPassing(e.Checks),
		}
		if e.Node != nil {
			in.nodeAddress = e.Node.Address
			in.zone = consulZone(e.Node.Locality)
		}
		if zone := consulZone(e.Service.Locality); zone != "" {
			in.zone = zone
		}
		instances = append(instances, in)
	}
	return instances
}

func consulZone(l *api.Locality) string {
	if l == nil {
		return ""
	}
	return l.Zone
}

func consulPassing(checks api.HealthChecks) bool {
	for _, check := range checks {
		if check == nil || check.Status != api.HealthPassing {
			return false
		}
	}
	return true
}
