package obs

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/pithead/pithead/gateway"
)

var update = flag.Bool("update", false, "write the golden files")

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

func exchange() *gateway.Exchange {
	return &gateway.Exchange{
		Start: epoch, Upstream: "orders", Arm: "canary", Status: 200, BytesIn: 3, BytesOut: 5, Attempts: 1,
		UpstreamStart: epoch.Add(100 * time.Microsecond), UpstreamHeaders: epoch.Add(2 * time.Millisecond), UpstreamEnd: epoch.Add(3100 * time.Microsecond),
	}
}

// filled has a value in every metric.
func filled() *Metrics {
	m := NewMetrics(Build{Version: "1.2.3", Commit: "abc", GoVersion: "go1.26"})
	r := m.Route("orders")
	r.Begin()
	x := exchange()
	x.Err = &gateway.Error{Status: 502, Reason: "upstream_reset", Cause: gateway.CauseUpstream}
	x.Status = 502
	x.Anatomy.Sampled, x.Anatomy.Known, x.Anatomy.Verdict = true, true, gateway.VerdictUpstream
	r.End(x, "GET", epoch.Add(4*time.Millisecond))
	r.Mirrored("shadow", "answered")
	r.Limited("per-second", "refused")
	m.WatchLimiter("middleware/partner", func() LimiterState {
		return LimiterState{Keys: 3, Crowded: 1, Decisions: map[string]uint64{"redis": 7}}
	})
	m.WatchBreakers("guard", func() []BreakerState {
		return []BreakerState{{Name: "guard/orders", Upstream: "orders", State: 3, Transitions: map[string]uint64{"open": 1}, Refused: 2, Failures: 20}}
	})
	store := m.Store("10.0.0.5:6379")
	store.Asked(time.Millisecond, "timeout")
	l := m.Listener("web")
	l.Opened()
	l.Refused("too_many")
	m.CollectUpstreams(func() []UpstreamState {
		return []UpstreamState{{
			Name: "orders", Panic: true, Waiting: 4, LeftZone: map[string]bool{"": false, "canary": true}, Subsets: []string{"canary", "stable"}, Retries: map[string]uint64{"ok": 3},
			Hedges: map[string]uint64{"won": 2}, Ejections: map[string]uint64{"consecutive_connect_failures": 1},
			Endpoints: []EndpointState{{Addr: "10.0.0.7:9000", Healthy: true, Active: 2, Requests: 9, Failures: 1, Subsets: []string{"canary"}}},
		}}
	})
	m.WatchIntrospector("https://id.example.com/introspect", "pithead", func() IntrospectorState { return IntrospectorState{Active: 1} })
	m.WatchLogins("https://id.example.com", "shop", func() LoginState {
		sizes := new(Sizes)
		sizes.Observe(700)
		return LoginState{Logins: map[string]uint64{"completed": 1}, Refreshes: map[string]uint64{"renewed": 1}, Logouts: map[string]uint64{"browser": 1}, Sizes: sizes}
	})
	m.WatchForwardAuth("auth", "/check", func() ForwardAuthState { return ForwardAuthState{Requests: map[string]uint64{"allowed": 1}} })
	m.ReloadDone("start", 1, nil, epoch)
	return m
}

// scrape is the text of all metrics of this package.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("scrape: %d %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// samples are the lines of a scrape that begin with name.
func samples(t *testing.T, m *Metrics, name string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(scrape(t, m)) {
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestGolden(t *testing.T) {
	families, err := filled().Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "pithead_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&b, "%s %s {%s}\n    %s\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ","), f.GetHelp())
	}
	const golden = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("names, labels or help changed; if that is meant, run with -update (-want +got):\n%s", diff)
	}
}

func TestLint(t *testing.T) {
	families, err := filled().Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "pithead_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// In OpenMetrics a counter's family has no _total, and must not meet another family there.
func TestOpenMetricsFamilies(t *testing.T) {
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	rec := httptest.NewRecorder()
	filled().Handler().ServeHTTP(rec, req)
	if ct := rec.Header().Get("Content-Type"); !strings.HasPrefix(ct, "application/openmetrics-text") {
		t.Fatalf("Content-Type %q", ct)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(rec.Body.String()) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[1] == "TYPE" && strings.HasPrefix(fields[2], "pithead_") {
			if seen[fields[2]] {
				t.Errorf("two families %s", fields[2])
			}
			seen[fields[2]] = true
		}
	}
	if !seen["pithead_requests"] || !strings.HasSuffix(rec.Body.String(), "# EOF\n") {
		t.Errorf("no OpenMetrics:\n%s", rec.Body)
	}
}

func TestEnd(t *testing.T) {
	m := filled()
	for name, want := range map[string]string{
		"pithead_requests_total":                `{arm="canary",code="502",method="GET",route="orders",upstream="orders"} 1`,
		"pithead_request_duration_seconds_sum":  `{arm="canary",route="orders",upstream="orders"} 0.004`,
		"pithead_gateway_duration_seconds_sum":  `{arm="canary",route="orders",upstream="orders"} 0.001`,
		"pithead_upstream_duration_seconds_sum": `{arm="canary",route="orders",upstream="orders"} 0.003`,
		"pithead_request_errors_total":          `{cause="upstream",reason="upstream_reset",route="orders"} 1`,
		"pithead_requests_in_flight":            `{route="orders"} 0`,
		"pithead_request_body_bytes_total":      `{route="orders"} 3`,
		"pithead_response_body_bytes_total":     `{route="orders"} 5`,
	} {
		if diff := cmp.Diff([]string{name + want}, samples(t, m, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSplit(t *testing.T) {
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	ms := time.Millisecond
	tests := []struct {
		name       string
		start, end time.Time // of the upstream's part
		want       times
	}{
		{"no attempt", time.Time{}, time.Time{}, times{whole: 10 * ms, gateway: 10 * ms}},
		{"whole answer", at(1), at(8), times{whole: 10 * ms, gateway: 3 * ms, upstream: 7 * ms, tried: true}},
		{"broken off", at(1), time.Time{}, times{whole: 10 * ms, gateway: ms, upstream: 9 * ms, tried: true}},
		{"ends after the exchange", at(1), at(20), times{whole: 10 * ms, upstream: 10 * ms, tried: true}},
		{"ends before it begins", at(5), at(3), times{whole: 10 * ms, gateway: 10 * ms, tried: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := split(&gateway.Exchange{Start: epoch, UpstreamStart: tt.start, UpstreamEnd: tt.end}, at(10))
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestHistogramBuckets(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{-1, 0, 500 * time.Microsecond, 500*time.Microsecond + 1, time.Minute, time.Hour} {
		h.observe(&requestBounds, d)
	}
	want := map[int]uint64{0: 3, 1: 1, bucketCount - 1: 1, bucketCount: 1}
	for i := range h.buckets {
		if n := h.buckets[i].Load(); n != want[i] {
			t.Errorf("bucket %d: %d, want %d", i, n, want[i])
		}
	}
	for _, limits := range []*bounds{&requestBounds, &gatewayBounds} {
		if !slices.IsSorted(limits[:]) || limits[bucketCount-1] != time.Minute {
			t.Errorf("bounds %v", limits)
		}
	}
	if sum := math.Float64frombits(h.sum.Load()); math.Abs(sum-3660.001) > 1e-6 {
		t.Errorf("sum %v", sum)
	}
}

func TestHostileLabels(t *testing.T) {
	t.Run("A14", func(t *testing.T) {
		m := NewMetrics(Build{})
		r := m.Route("")
		known := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
		for i := range 20_000 {
			method := "M" + strconv.Itoa(i)
			if i < len(known) {
				method = known[i]
			}
			r.Begin()
			r.End(&gateway.Exchange{Start: epoch, Status: i - 500}, method, epoch)
		}
		lines := samples(t, m, "pithead_requests_total")
		if bound := (len(known) + 1) * 501; len(lines) > bound {
			t.Errorf("%d series, bound %d", len(lines), bound)
		}
		byMethod := make(map[string]int)
		for _, line := range lines {
			_, rest, _ := strings.Cut(line, `method="`)
			method, _, _ := strings.Cut(rest, `"`)
			byMethod[method]++
		}
		if len(byMethod) != len(known)+1 || byMethod["other"] != 501 {
			t.Errorf("methods %v", byMethod)
		}
		if want := `pithead_requests_total{arm="",code="other",method="other",route="none",upstream=""} 19491`; !slices.Contains(lines, want) {
			t.Errorf("no %s", want)
		}
	})
	t.Run("invalid UTF-8 and doubles", func(t *testing.T) {
		m := NewMetrics(Build{})
		m.CollectUpstreams(func() []UpstreamState {
			return []UpstreamState{
				{Name: "a", Endpoints: []EndpointState{{Addr: "\xff"}, {Addr: "x"}, {Addr: "x", Healthy: true}}},
				{Name: "b\xff"},
			}
		})
		want := []string{`pithead_endpoint_healthy{endpoint="x",upstream="a"} 0`, "pithead_endpoint_healthy{endpoint=\"\uFFFD\",upstream=\"a\"} 0"}
		if diff := cmp.Diff(want, samples(t, m, "pithead_endpoint_healthy")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestReloadDone(t *testing.T) {
	m := NewMetrics(Build{})
	m.ReloadDone("start", 1, nil, epoch)
	m.ReloadDone("file", 1, errors.New("nonsense"), epoch.Add(time.Hour))
	var got []string
	for _, name := range []string{"reloads_total", "config_last_reload_successful", "config_last_reload_timestamp_seconds", "config_generation"} {
		got = append(got, samples(t, m, "pithead_"+name)...)
	}
	want := []string{
		`pithead_reloads_total{result="failure",trigger="file"} 1`,
		`pithead_reloads_total{result="success",trigger="start"} 1`,
		`pithead_config_last_reload_successful 0`,
		`pithead_config_last_reload_timestamp_seconds 1.767323045678e+09`,
		`pithead_config_generation 1`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUpstreamState(t *testing.T) {
	m := filled()
	want := []string{
		`pithead_upstream_endpoints{arm="",state="ejected",upstream="orders"} 0`,
		`pithead_upstream_endpoints{arm="",state="healthy",upstream="orders"} 1`,
		`pithead_upstream_endpoints{arm="",state="unhealthy",upstream="orders"} 0`,
		`pithead_upstream_endpoints{arm="canary",state="ejected",upstream="orders"} 0`,
		`pithead_upstream_endpoints{arm="canary",state="healthy",upstream="orders"} 1`,
		`pithead_upstream_endpoints{arm="canary",state="unhealthy",upstream="orders"} 0`,
		`pithead_upstream_endpoints{arm="stable",state="ejected",upstream="orders"} 0`,
		`pithead_upstream_endpoints{arm="stable",state="healthy",upstream="orders"} 0`,
		`pithead_upstream_endpoints{arm="stable",state="unhealthy",upstream="orders"} 0`,
	}
	if diff := cmp.Diff(want, samples(t, m, "pithead_upstream_endpoints")); diff != "" {
		t.Error(diff)
	}
	for name, value := range map[string]string{"pithead_upstream_panic": " 1", "pithead_upstream_waiting_requests": " 4"} {
		if got := samples(t, m, name); len(got) != 1 || !strings.HasSuffix(got[0], value) {
			t.Errorf("%s: %v", name, got)
		}
	}
	want = []string{`pithead_upstream_left_zone{arm="",upstream="orders"} 0`, `pithead_upstream_left_zone{arm="canary",upstream="orders"} 1`}
	if diff := cmp.Diff(want, samples(t, m, "pithead_upstream_left_zone")); diff != "" {
		t.Error(diff)
	}
	if got := samples(t, m, "pithead_discovery_age_seconds"); len(got) != 1 || !strings.HasSuffix(got[0], "+Inf") {
		t.Errorf("never confirmed: %v", got)
	}
	m.DiscoveryFailed("orders")
	if got := samples(t, m, "pithead_discovery_failures_total"); len(got) != 1 || !strings.HasSuffix(got[0], " 1") {
		t.Errorf("failures: %v", got)
	}
	m.DiscoverySkipped("orders", 90_000)
	if got := samples(t, m, "pithead_discovery_skipped_instances"); len(got) != 1 || !strings.HasSuffix(got[0], " 90000") {
		t.Errorf("skipped: %v", got)
	}
}

func TestPanic(t *testing.T) {
	m := NewMetrics(Build{})
	m.Panic()
	if got := samples(t, m, "pithead_panics_total"); len(got) != 1 || got[0] != "pithead_panics_total 1" {
		t.Error(got)
	}
}

func TestEndAllocations(t *testing.T) {
	r := NewMetrics(Build{}).Route("orders")
	x := exchange()
	end := epoch.Add(4 * time.Millisecond)
	if n := testing.AllocsPerRun(100, func() { r.Begin(); r.End(x, "GET", end) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEnd(b *testing.B) {
	r := NewMetrics(Build{}).Route("orders")
	x := exchange()
	end := epoch.Add(4 * time.Millisecond)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Begin()
			r.End(x, "GET", end)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r.Begin()
				r.End(x, "GET", end)
			}
		})
	})
}

// BenchmarkScrape is a scrape of ten thousand routes, one in a hundred of which had traffic.
func BenchmarkScrape(b *testing.B) {
	m := NewMetrics(Build{})
	for i := range 10_000 {
		r := m.Route("route" + strconv.Itoa(i))
		if i%100 == 0 {
			r.Begin()
			r.End(exchange(), "GET", epoch.Add(4*time.Millisecond))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
	}
}
