package discovery

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// sizes of a service that the benchmarks go through.
var sizes = []int{10, 1000, 10_000}

// answerOf is what Consul says of a service of n instances.
func answerOf(n int) []*api.ServiceEntry {
	entries := make([]*api.ServiceEntry, n)
	for i := range entries {
		entries[i] = &api.ServiceEntry{
			Node: &api.Node{Node: "n", Address: "10.255.0.1"},
			Service: &api.AgentService{
				ID: fmt.Sprint(i), Service: "orders", Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Port: 9000,
				Tags: []string{"stable", "public"}, Meta: map[string]string{"version": "v1"}, Weights: api.AgentWeights{Passing: 1},
			},
			Checks: api.HealthChecks{{CheckID: "serfHealth", Status: "passing"}, {CheckID: "service", Status: "passing"}},
		}
	}
	return entries
}

// BenchmarkConsulAnswer is the way of an answer from its JSON to a set: what each
// change of a service costs.
func BenchmarkConsulAnswer(b *testing.B) {
	for _, n := range sizes {
		text, err := json.Marshal(answerOf(n))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var entries []*api.ServiceEntry
				if err := json.Unmarshal(text, &entries); err != nil {
					b.Fatal(err)
				}
				if set := readInstances(consulInstances(entries), false); len(set.targets) != n {
					b.Fatal(len(set.targets))
				}
			}
		})
	}
}

// BenchmarkConsulPublish is an answer that confirms the set as it is: what a
// source costs while nothing changes, but for the decoding.
func BenchmarkConsulPublish(b *testing.B) {
	for _, n := range sizes {
		entries := answerOf(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := consulDefaults()
			source, err := dialConsul(c, Env{}, nil)
			if err != nil {
				b.Fatal(err)
			}
			log := slog.New(slog.DiscardHandler)
			w := &consulWatch{consulSource: source, publish: func([]gateway.Target) {}, log: log, last: grace{length: c.Grace, log: log}}
			b.ReportAllocs()
			for b.Loop() {
				w.accept(readInstances(consulInstances(entries), false))
			}
		})
	}
}

// BenchmarkSnapshotWrite is what a change costs the disk, at most every five seconds.
func BenchmarkSnapshotWrite(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := consulDefaults()
			c.Snapshot = kind.Path(b.TempDir())
			s, err := newConsulSnapshot(c, false)
			if err != nil {
				b.Fatal(err)
			}
			set := readInstances(consulInstances(answerOf(n)), false).targets
			b.ReportAllocs()
			for b.Loop() {
				s.known = false // so that the set is a new one
				s.keep(set, time.Now())
				if err := s.save(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
