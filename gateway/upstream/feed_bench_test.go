package upstream

import (
	"fmt"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// BenchmarkUpdate is what a set costs an upstream, from the source to the set
// that requests see: one that is as the last one was, and one in which an
// instance has moved.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		targets := make([]gateway.Target, n)
		for i := range targets {
			targets[i] = gateway.Target{
				Addr: fmt.Sprintf("10.%d.%d.%d:9000", i>>16, i>>8&255, i&255), Weight: 1,
				Tags: []string{"stable"}, Meta: map[string]string{"version": "v1"},
			}
		}
		run := func(what string, change func(i int)) {
			b.Run(fmt.Sprintf("%s/%d", what, n), func(b *testing.B) {
				f := NewFeed("orders", newRegistry(), quiet)
				c := New(Options{Name: "orders", Feed: f, Policy: turns, Log: quiet, Subsets: map[string]Selector{"stable": {Tag: "stable"}}})
				defer f.Close()
				defer c.Close()
				f.Subscribe(c.update)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					change(i)
					f.publish(b.Context(), targets)
					i++
				}
				if got := c.Healthy("stable"); got != n {
					b.Errorf("%d endpoints, want %d", got, n)
				}
			})
		}
		run("confirmed", func(int) {})
		run("changed", func(i int) { targets[0].Addr = fmt.Sprintf("10.200.0.1:%d", 1000+i%2) })
	}
}
