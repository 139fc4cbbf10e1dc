package anatomy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

const ms = time.Millisecond

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(d time.Duration) time.Time { return began.Add(d) }

// spans are the phases that took time.
func spans(x *gateway.Exchange) map[string]string {
	all := map[string]string{}
	for p, s := range x.Anatomy.Spans {
		if s.Took != 0 {
			all[gateway.Phase(p).String()] = s.Took.String() + " " + s.By.String()
		}
	}
	return all
}

func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name string
		x    *gateway.Exchange
		c    Client
		end  time.Duration
		want map[string]string
	}{
		{
			name: "answered by the gateway, after 5 ms in the kernel and 2 ms of a slow head",
			x:    &gateway.Exchange{Start: at(10 * ms)}, end: 13 * ms,
			c:    Client{By: gateway.ByProbe, Arrived: at(2 * ms), Queue: 5 * ms, HeadSend: 2 * ms},
			want: map[string]string{"receive_queue": "5ms probe", "client_send": "2ms probe", "gateway": "4ms user"},
		},
		{
			name: "everything at once, as user space sees it",
			x: &gateway.Exchange{
				Start: at(0), UpstreamStart: at(5 * ms), UpstreamHeaders: at(60 * ms), UpstreamEnd: at(80 * ms),
				Anatomy: gateway.Anatomy{Room: 3 * ms, Attempt: at(15 * ms), Connected: at(20 * ms)},
			},
			c: Client{BodySend: 8 * ms, Drain: 6 * ms}, end: 90 * ms,
			want: map[string]string{
				"gateway": "12ms user", "upstream_wait": "3ms user", "earlier_attempts": "10ms user", "connect": "5ms user",
				"client_send": "8ms user", "upstream_service": "32ms user", "upstream_body": "14ms user", "client_drain": "6ms user",
			},
		},
		{
			name: "the probe takes what is the gateway's own out of the wait",
			x: &gateway.Exchange{
				Start: at(0), UpstreamStart: at(1 * ms), UpstreamHeaders: at(51 * ms), UpstreamEnd: at(51 * ms),
				Anatomy: gateway.Anatomy{Attempt: at(1 * ms), Upstream: gateway.UpstreamSocket{By: gateway.ByProbe, RoundTrip: 10 * ms, Queue: 7 * ms, Kernel: 40 * ms}},
			},
			end:  52 * ms,
			want: map[string]string{"gateway": "5ms user", "upstream_queue": "7ms probe", "upstream_network": "10ms tcp_info", "upstream_service": "30ms probe"},
		},
		{
			name: "a lost request is the network's",
			x: &gateway.Exchange{
				Start: at(0), UpstreamStart: at(0), UpstreamHeaders: at(250 * ms), UpstreamEnd: at(250 * ms),
				Anatomy: gateway.Anatomy{Attempt: at(0), Upstream: gateway.UpstreamSocket{RoundTrip: 1 * ms, Lost: 204 * ms}},
			},
			end: 250 * ms, want: map[string]string{"upstream_network": "205ms tcp_info", "upstream_service": "45ms user"},
		},
		{
			name: "no connection",
			x: &gateway.Exchange{
				Start: at(0), UpstreamStart: at(1 * ms), UpstreamEnd: at(21 * ms), Anatomy: gateway.Anatomy{Attempt: at(1 * ms), Opening: true},
			},
			end: 22 * ms, want: map[string]string{"gateway": "2ms user", "connect": "20ms user"},
		},
		{
			name: "measures that claim more than there was",
			x: &gateway.Exchange{
				Start: at(5 * ms), UpstreamStart: at(5 * ms), UpstreamHeaders: at(10 * ms), UpstreamEnd: at(10 * ms),
				Anatomy: gateway.Anatomy{Room: time.Hour, Attempt: at(5 * ms), Upstream: gateway.UpstreamSocket{By: gateway.ByTCPInfo, RoundTrip: time.Hour, Queue: 2 * ms}},
			},
			c: Client{By: gateway.ByTCPInfo, Arrived: at(0), Queue: time.Hour, Drain: time.Hour}, end: 11 * ms,
			want: map[string]string{"receive_queue": "5ms tcp_info", "upstream_queue": "2ms tcp_info", "upstream_network": "3ms tcp_info", "client_drain": "1ms user"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			Settle(c.x, &c.c, at(c.end))
			if diff := cmp.Diff(c.want, spans(c.x)); diff != "" {
				t.Error(diff)
			}
			begin := c.x.Start
			if c.c.By != gateway.ByNobody {
				begin = c.c.Arrived
			}
			var sum time.Duration
			for _, s := range c.x.Anatomy.Spans {
				sum += s.Took
			}
			if whole := at(c.end).Sub(begin); sum != whole {
				t.Errorf("the phases sum to %v of %v", sum, whole)
			}
		})
	}
}

func TestServerTiming(t *testing.T) {
	x := gateway.Exchange{Start: at(0), UpstreamStart: at(1 * ms), UpstreamHeaders: at(21 * ms), UpstreamEnd: at(21 * ms)}
	Settle(&x, &Client{}, at(21*ms+500*time.Microsecond))
	if got, want := ServerTiming(&x), "gateway;dur=1.5, upstream_service;dur=20"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := ServerTiming(new(gateway.Exchange)); got != "gateway;dur=0" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestJudge(t *testing.T) {
	watch := &gateway.Watch{Slow: 100 * ms}
	failed := func(status int, cause gateway.Cause) *gateway.Exchange {
		return &gateway.Exchange{Status: status, Err: &gateway.Error{Cause: cause}}
	}
	for _, c := range []struct {
		name  string
		x     *gateway.Exchange
		spans map[gateway.Phase]time.Duration
		want  gateway.Verdict
	}{
		{"quick", &gateway.Exchange{}, map[gateway.Phase]time.Duration{gateway.PhaseGateway: 99 * ms}, gateway.VerdictNone},
		{"slow gateway", &gateway.Exchange{}, map[gateway.Phase]time.Duration{gateway.PhaseGateway: 100 * ms}, gateway.VerdictGateway},
		{"slow reader", &gateway.Exchange{}, map[gateway.Phase]time.Duration{gateway.PhaseGateway: 60 * ms, gateway.PhaseClientDrain: 70 * ms}, gateway.VerdictClientNetwork},
		{
			"both queues together", &gateway.Exchange{},
			map[gateway.Phase]time.Duration{gateway.PhaseUpstreamService: 50 * ms, gateway.PhaseReceiveQueue: 30 * ms, gateway.PhaseUpstreamQueue: 30 * ms},
			gateway.VerdictKernelQueue,
		},
		{"slow way", &gateway.Exchange{}, map[gateway.Phase]time.Duration{gateway.PhaseConnect: 60 * ms, gateway.PhaseUpstreamNetwork: 60 * ms}, gateway.VerdictUpstreamNetwork},
		{"slow service", &gateway.Exchange{}, map[gateway.Phase]time.Duration{gateway.PhaseUpstreamService: 600 * ms}, gateway.VerdictUpstream},
		{"refused by us", failed(429, gateway.CauseClient), nil, gateway.VerdictNone},
		{"client left", failed(499, gateway.CauseClient), nil, gateway.VerdictClientNetwork},
		{"client too slow", failed(408, gateway.CauseClient), nil, gateway.VerdictClientNetwork},
		{"bug", failed(500, gateway.CauseGateway), nil, gateway.VerdictGateway},
		{"bad answer", failed(502, gateway.CauseUpstream), nil, gateway.VerdictUpstream},
		{"unreachable", failed(502, gateway.CauseNetwork), nil, gateway.VerdictUpstreamNetwork},
		{
			"late because it starved", failed(504, gateway.CauseUpstream),
			map[gateway.Phase]time.Duration{gateway.PhaseUpstreamService: 50 * ms, gateway.PhaseUpstreamQueue: 90 * ms},
			gateway.VerdictKernelQueue,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.x.Anatomy.Watch = watch
			for p, took := range c.spans {
				c.x.Anatomy.Spans[p].Took = took
			}
			if got := Judge(c.x); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
