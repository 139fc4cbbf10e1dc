package admin

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/limitview"
)

// limitsAsked are limits that remember what they were asked.
func limitsAsked(asked *[]limitview.Facts) Options {
	o := new(daemon).options()
	o.Limits = func(ctx context.Context, name string, who limitview.Facts) limitview.Report {
		if _, bounded := ctx.Deadline(); !bounded {
			panic("stores may be asked for ever")
		}
		*asked = append(*asked, who)
		report := limitview.Report{Rates: []limitview.Rate{}, Concurrency: []limitview.Concurrency{}, Adaptive: []limitview.Adaptive{}, Overload: limitview.Overload{Step: "shed"}}
		if name == "" || name == "fair" {
			report.Rates = append(report.Rates, limitview.Rate{Name: "fair", Allowed: 7})
		}
		return report
	}
	return o
}

func TestLimits(t *testing.T) {
	var asked []limitview.Facts
	h := handler(t, limitsAsked(&asked))
	f := func(name, target string, status int, says string, who ...limitview.Facts) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			asked = nil
			got := ask(h, "GET", target, "")
			if got.Code != status || !strings.Contains(got.Body.String(), says) {
				t.Errorf("%d %s", got.Code, got.Body)
			}
			if diff := cmp.Diff(who, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
	f("all", "/-/limits", 200, `"allowed": 7`, nil)
	f("the process", "/-/limits", 200, `"step": "shed"`, nil)
	f("one", "/-/limits?name=fair", 200, `"name": "fair"`, nil)
	f("none of the name", "/-/limits?name=fare", 404, "there is no limit of this name", nil)
	f("a caller", "/-/limits?key=client%3D203.0.113.7&key=header:x-a=b%20c", 200, `"fair"`, limitview.Facts{"client": "203.0.113.7", "header:X-A": "b c"})
	f("another parameter", "/-/limits?client=203.0.113.7", 400, "takes name=NAME and key=PART=VALUE")
	f("no part", "/-/limits?key=203.0.113.7", 400, "a part of a key is written")
	f("a broken query", "/-/limits?name=%zz", 400, "limits_request")
	if got := ask(h, "POST", "/-/limits", "{}", "Content-Type: application/json"); got.Code != 405 {
		t.Errorf("POST: %d", got.Code)
	}
	// A mistake may hold somebody's key, which is not for logs and screens.
	if got := ask(h, "GET", "/-/limits?key=sk-secret", "").Body.String(); strings.Contains(got, "sk-secret") {
		t.Error(got)
	}
}

func TestLimitsClient(t *testing.T) {
	var asked []limitview.Facts
	o := limitsAsked(&asked)
	s := httptest.NewServer(handler(t, o))
	t.Cleanup(s.Close)
	c, err := Dial(s.Listener.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	report, err := c.Limits(t.Context(), "fair", []string{"subject=a&b=c", "client=2001:db8::1"})
	if err != nil || len(report.Rates) != 1 || report.Rates[0].Allowed != 7 {
		t.Errorf("%+v, %v", report, err)
	}
	want := []limitview.Facts{{"subject": "a&b=c", "client": "2001:db8::1"}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if _, err := c.Limits(t.Context(), "fare", nil); err == nil || !strings.Contains(err.Error(), "no limit of this name") {
		t.Error(err)
	}
}
