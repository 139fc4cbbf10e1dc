//go:build linux

package bpf

import (
	"testing"
	"time"
)

func BenchmarkLoad(b *testing.B) {
	need(b)
	dir := group(b)
	for b.Loop() {
		p, err := Load(Options{Cgroup: dir, AnyListen: true, Labels: 64, Status: true, Settle: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
