//go:build oidc

package oidc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// chromium is a real browser with a profile of its own.
type chromium struct {
	t   *testing.T
	ctx context.Context
}

// startChromium starts a browser that finds the gateway at localhost:8080. It ends with the test.
func startChromium(t *testing.T, gateway string) *chromium {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // tests may run as root, where there is none
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-gpu", true),
		chromedp.Flag("host-resolver-rules", "MAP localhost:8080 "+gateway),
	)
	ctx, late := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(late)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(ctx)
	t.Cleanup(quit)
	c := &chromium{t, ctx}
	c.do(chromedp.Navigate("about:blank"))
	return c
}

func (c *chromium) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	for i, step := range steps {
		if err := chromedp.Do(c.ctx, step); err != nil {
			where, _ := chromedp.Run(c.ctx, chromedp.Location())
			page, _ := chromedp.Run(c.ctx, chromedp.Evaluate[string]("document.body.innerText"))
			c.t.Fatalf("step %d: %v; at %s: %.300s", i+1, err, where, page)
		}
	}
}

// reach waits until the browser shows an address, and returns the text of the page.
func (c *chromium) reach(address string) string {
	c.t.Helper()
	page := fmt.Sprintf("location.href === %q && document.readyState === 'complete' ? '+' + document.body.innerText : '-' + location.href", address)
	deadline := time.After(20 * time.Second)
	for {
		// An error may be that the browser is leaving a page at this moment.
		text, err := chromedp.Run(c.ctx, chromedp.Evaluate[string](page))
		if rest, ok := strings.CutPrefix(text, "+"); ok && err == nil {
			return rest
		}
		select {
		case <-deadline:
			c.t.Fatalf("the browser is at %s, not at %s: %v", text, address, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fetch is the status that a script of the page gets.
func (c *chromium) fetch(call string) int {
	c.t.Helper()
	status, err := chromedp.Run(c.ctx, chromedp.Evaluate[int]("fetch("+call+").then(r => r.status, () => -1)", chromedp.EvalAwaitPromise))
	if err != nil {
		c.t.Fatal(err)
	}
	return status
}

// post has the page send a form.
func (c *chromium) post(to string) {
	c.t.Helper()
	c.do(chromedp.Evaluate[chromedp.Void](`(() => { const f = document.createElement("form"); f.method = "POST"; f.action = "` + to + `"; document.body.append(f); f.submit() })()`))
}

// A real browser logs in and out. What it does with cookies, redirects and other sites is
// what the gateway relies on.
func TestLoginWithChromium(t *testing.T) {
	issuer, tell := startProvider(t)
	gateway := startGateway(t, issuer, "")
	if _, err := fmt.Fprintln(tell, "http://"+gateway); err != nil {
		t.Fatal(err)
	}
	c := startChromium(t, gateway)
	const target, submit = outside + "/orders?id=7", `button[type=submit]`
	c.do(chromedp.Navigate(target),
		chromedp.WaitVisible(`input[name=login]`), chromedp.SendKeys(`input[name=login]`, "ada"), chromedp.SendKeys(`input[name=password]`, "x"),
		chromedp.Click(submit), chromedp.WaitNotPresent(`input[name=login]`),
		chromedp.WaitVisible(submit), chromedp.Click(submit))
	if text := c.reach(target); !strings.HasPrefix(text, `/orders?id=7 for ada <ada@example.com>, cookies ""`) {
		t.Fatalf("the page is %q", text)
	}
	t.Run("scripts do not see the session", func(t *testing.T) {
		seen, err := chromedp.Run(c.ctx, chromedp.Evaluate[string]("document.cookie"))
		if err != nil || seen != "" {
			t.Errorf("they see %q, %v", seen, err)
		}
	})
	t.Run("scripts of the page have it sent", func(t *testing.T) {
		for call, want := range map[string]int{`"/api"`: 200, `"/api", {method: "POST"}`: 200, `"/api", {credentials: "omit"}`: 401} {
			if got := c.fetch(call); got != want {
				t.Errorf("fetch(%s): status %d, want %d", call, got, want)
			}
		}
	})
	t.Run("forms of another site do not", func(t *testing.T) {
		c.do(chromedp.Navigate(issuer + "/.well-known/openid-configuration"))
		c.post(outside + "/pay")
		if text := c.reach(outside + "/pay"); !strings.Contains(text, "oidc_") || strings.Contains(text, "for ada") {
			t.Errorf("the page is %q", text)
		}
		c.do(chromedp.Navigate(target))
		if text := c.reach(target); !strings.Contains(text, "for ada") {
			t.Errorf("and a link shows %q", text)
		}
	})
	t.Run("logout", func(t *testing.T) {
		c.post("/oauth2/logout")
		c.do(chromedp.WaitVisible(`button[name=logout]`), chromedp.Click(`button[name=logout]`))
		if text := c.reach(outside + "/bye"); text != "bye" {
			t.Fatalf("the page is %q", text)
		}
		if got := c.fetch(`"/api"`); got != 401 {
			t.Errorf("status %d after the logout", got)
		}
	})
}
