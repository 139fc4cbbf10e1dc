package obs

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

func TestRetain(t *testing.T) {
	end := func(r *Route, x *gateway.Exchange) { r.Begin(); r.End(x, "GET", epoch.Add(time.Second)) }

	t.Run("changing names do not grow", func(t *testing.T) {
		m := NewMetrics(Build{})
		stable := m.Route("stable")
		var old []*Route
		for i := range 1000 {
			name := "n" + strconv.Itoa(i)
			r := m.Route(name)
			end(r, &gateway.Exchange{Start: epoch, Upstream: name, Status: 200})
			end(stable, &gateway.Exchange{Start: epoch, Upstream: name, Status: 200})
			end(stable, &gateway.Exchange{Start: epoch, Upstream: "u", Arm: name, Status: 200})
			stable.Mirrored(name, "answered")
			stable.Limited(name, "refused")
			m.DiscoveryFailed(name)
			m.DiscoverySkipped(name, 1)
			m.Listener(name).Retire()
			m.Retain([]string{"stable", name}, []string{"u", name})
			old = append(old, r)
		}
		for _, r := range old {
			end(r, &gateway.Exchange{Start: epoch, Upstream: "late", Status: 200})
		}
		if got := len(m.routes) + len(m.failures) + len(m.skipped); got > 6 {
			t.Errorf("%d routes, failures and skipped kept", got)
		}
		if n := len(stable.series.all()); n > maxSeries+2 {
			t.Errorf("%d series kept", n)
		}
		if n := len(stable.mirrors.all()); n != 1 {
			t.Errorf("%d counters of mirrors kept", n)
		}
		if n := len(stable.limits.all()); n > maxSeries {
			t.Errorf("%d counters of limits kept", n)
		}
		scrape(t, m)
		if n := len(m.listeners); n != 0 {
			t.Errorf("%d listeners kept", n)
		}
	})
	t.Run("keeps what is in use", func(t *testing.T) {
		m := NewMetrics(Build{})
		r, none := m.Route("r"), m.Route("")
		end(r, &gateway.Exchange{Start: epoch, Upstream: "u", Status: 200})
		end(none, &gateway.Exchange{Start: epoch, Status: 404})
		m.Retain([]string{"r"}, []string{"u"})
		m.Retain([]string{"r"}, []string{"u"})
		if m.Route("r") != r || m.Route("none") != none {
			t.Error("another handle")
		}
		if n := len(samples(t, m, "pithead_requests_total")); n != 2 {
			t.Errorf("%d series", n)
		}
	})
	t.Run("during requests and scrapes", func(t *testing.T) {
		m := NewMetrics(Build{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 200 {
					r := m.Route(strconv.Itoa(j % 3))
					end(r, &gateway.Exchange{Start: epoch, Upstream: strconv.Itoa(i), Status: 200})
				}
			})
		}
		for range 20 {
			m.Retain([]string{"1"}, []string{"1"})
			scrape(t, m)
		}
		wg.Wait()
	})
}

func TestListener(t *testing.T) {
	m := NewMetrics(Build{})
	l := m.Listener("web")
	l.Opened()
	l.Opened()
	l.Closed()
	l.Retire()
	if got := samples(t, m, "pithead_connections"); len(got) != 1 || got[0] != `pithead_connections{listener="web"} 1` {
		t.Errorf("draining: %v", got)
	}
	l.Closed()
	if got := samples(t, m, "pithead_connections"); len(got) != 0 {
		t.Errorf("retired: %v", got)
	}
}
