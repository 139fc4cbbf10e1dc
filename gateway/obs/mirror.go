package obs

import "github.com/prometheus/client_golang/prometheus"

// copied is where a copy of a request was to go, and what became of it.
type copied struct{ upstream, result string }

// Mirrored counts a request that was to be copied to an upstream. result says what
// became of the copy, in one of a few fixed words.
func (r *Route) Mirrored(upstream, result string) {
	r.mirrors.get(copied{upstream, result}).Add(1)
}

func (r *Route) collectMirrors(ch chan<- prometheus.Metric) {
	for _, e := range r.mirrors.all() {
		counter(ch, mirrorRequestsDesc, e.value.Load(), r.name, e.key.upstream, e.key.result)
	}
}
