//go:build browser

package browser_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/pithead/pithead/gateway/admin"
	"github.com/pithead/pithead/gateway/anatomy"
	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/limitview"
	"github.com/pithead/pithead/gateway/obs"
)

// startAdmin serves the admin API of the demo's configuration.
func startAdmin(t *testing.T) string {
	t.Helper()
	files, err := config.Read("../../configs/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := build.Compile(cfg, build.Env{Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler), Metrics: obs.NewMetrics(obs.Build{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	})
	h, err := admin.New(admin.Options{
		Address: "127.0.0.1:0", Documented: snap.Documented, OpenAPI: snap.OpenAPI,
		Metrics: http.NotFoundHandler(), Ready: func() (bool, []string) { return true, nil },
		Reload: func(context.Context) (admin.ReloadResult, error) { return admin.ReloadResult{}, nil },
		Config: func() []byte { return nil }, Status: func() admin.Status { return admin.Status{} }, History: func() []admin.Generation { return nil },
		Routes: func() []admin.RouteInfo { return nil }, Endpoints: func() []admin.UpstreamInfo { return nil }, Breakers: func() []admin.BreakerInfo { return nil },
		Limits:       func(context.Context, string, limitview.Facts) limitview.Report { return limitview.Report{} },
		Labels:       func() []anatomy.Named { return nil },
		Caches:       func() []admin.CacheInfo { return nil },
		PurgeCache:   func(string, admin.CachePurge, string) (int, error) { return 0, nil },
		ForceBreaker: func(string, string, string) (admin.BreakerInfo, error) { return admin.BreakerInfo{}, nil },
		Explain:      func(*http.Request) admin.Explanation { return admin.Explanation{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// Swagger UI lists every operation of the demo, under its strict policy, and offers no
// request that could not be sent.
func TestSwaggerUI(t *testing.T) {
	base := startAdmin(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // tests may run as root, where there is none
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-gpu", true),
	)
	ctx, late := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(late)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(ctx)
	t.Cleanup(quit)
	for _, step := range []chromedp.Action[chromedp.Void]{chromedp.Navigate(base + "/-/openapi/"), chromedp.WaitVisible(".opblock-summary")} {
		if err := chromedp.Do(ctx, step); err != nil {
			t.Fatal(err)
		}
	}
	const operations = `[...document.querySelectorAll(".opblock-summary")].map(e => e.querySelector(".opblock-summary-method").innerText + " " + e.querySelector("[data-path]").dataset.path).join("\n")`
	listed, err := chromedp.Run(ctx, chromedp.Evaluate[string](operations))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"GET /orders", "POST /orders", "GET /orders/{id}", "DELETE /orders/{id}", "PATCH /orders/{id}", "POST /orders/{id}:cancel",
		"GET /orders/{id}/invoice", "GET /orders/{id}/events", "POST /orders:import", "GET /support",
	} {
		if !strings.Contains("\n"+listed+"\n", "\n"+want+"\n") {
			t.Errorf("no %s among\n%s", want, listed)
		}
	}
	if n := strings.Count(listed, "\n") + 1; n != 10 {
		t.Errorf("%d operations:\n%s", n, listed)
	}
	if err := chromedp.Do(ctx, chromedp.Click(".opblock-summary-control")); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.WaitVisible(".opblock-body")); err != nil {
		t.Fatal(err)
	}
	tries, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll(".try-out").length`))
	if err != nil || tries != 0 {
		t.Errorf("%d buttons to try, %v", tries, err)
	}
	foreign, err := chromedp.Run(ctx, chromedp.Evaluate[int](`performance.getEntriesByType("resource").filter(e => !e.name.startsWith(location.origin + "/") && !e.name.startsWith("data:")).length`))
	if err != nil || foreign != 0 {
		t.Errorf("%d things from elsewhere, %v", foreign, err)
	}
}
