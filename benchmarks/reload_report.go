package main

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

// writeReload writes the table of what changes do to requests.
func writeReload(w io.Writer, o *runOptions, samples []reloadSample) {
	fmt.Fprintf(w, "# Changes of a large configuration\n\nWritten by `make bench-reload` on %s.\n\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "- Machine: %s, %d cores, Linux %s, %s.\n", cpuModel(), runtime.NumCPU(), kernel(), runtime.GOARCH)
	fmt.Fprintf(w, "- %d routes and %d upstreams in %d files. 64 clients send %d requests a second for a route that nothing changes; each figure is of %v, first without changes, then while one of the files is written anew each second. Every row is a gateway of its own.\n",
		reloadRoutes+1, reloadRoutes/10+1, reloadRoutes/reloadFile+1, reloadRate, o.time)
	fmt.Fprintf(w, "- The gateway may use both cores; origin and clients share the second one with it. *Live* is the time from the write to the first answer that shows the change, the debounce of 250 ms included.\n\n")
	fmt.Fprintf(w, "| p50 before | p50 during | p99 before | p99 during | ratio of p99 | changes | live, median | live, most | requests | failed | RSS MiB |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	var ratios []float64
	for i := range samples {
		s := &samples[i]
		var live []float64
		for _, d := range s.live {
			live = append(live, d.Seconds()*1000)
		}
		l, ratio := spreadOf(live), float64(s.busy.P99)/float64(s.calm.P99)
		ratios = append(ratios, ratio)
		fmt.Fprintf(w, "| %s | %s | %s | %s | **%.2f** | %d | %.0f ms | %.0f ms | %d | %d | %d |\n", ms(s.calm.P50), ms(s.busy.P50), ms(s.calm.P99), ms(s.busy.P99), ratio,
			len(s.live), l.median, l.most, s.calm.Requests+s.busy.Requests, s.calm.Errors+s.busy.Errors, s.memory>>20)
	}
	r := spreadOf(ratios)
	fmt.Fprintf(w, "\nThe p99 while the configuration changes is %.2f times the one before in the median, %.2f to %.2f times.\n", r.median, r.least, r.most)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
