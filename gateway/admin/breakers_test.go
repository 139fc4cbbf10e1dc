package admin

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// panel are circuit breakers as the admin API sees them.
type panel struct {
	all   []BreakerInfo
	asked []string
}

func newPanel() *panel {
	return &panel{all: []BreakerInfo{{Name: "guard/orders", State: "open", Force: "auto", Reason: "failure_ratio", Since: started, Until: started}}}
}

func (p *panel) force(name, force, by string) (BreakerInfo, error) {
	p.asked = append(p.asked, name+" "+force+" "+by)
	switch {
	case name != "guard/orders":
		return BreakerInfo{}, ErrNoBreaker
	case force != "closed":
		return BreakerInfo{}, ErrNoForce
	}
	p.all[0].Force, p.all[0].State = "closed", "closed"
	return p.all[0], nil
}

func TestBreakers(t *testing.T) {
	p := newPanel()
	o := new(daemon).options()
	o.Breakers, o.ForceBreaker = func() []BreakerInfo { return p.all }, p.force
	h := handler(t, o)
	if got := ask(h, "GET", "/-/breakers", "").Body.String(); !strings.Contains(got, `"name": "guard/orders"`) || !strings.Contains(got, `"state": "open"`) {
		t.Error(got)
	}
	for _, c := range []struct {
		name, path, body string
		status           int
		says             string
	}{
		{"closed", "/-/breakers/guard/orders", `{"force": "closed"}`, 200, `"force": "closed"`},
		{"encoded", "/-/breakers/guard%2Forders", `{"force": "closed"}`, 200, `"force": "closed"`},
		{"another word", "/-/breakers/guard/orders", `{"force": "shut"}`, 400, ErrNoForce.Error()},
		{"another field", "/-/breakers/guard/orders", `{"fore": "closed"}`, 400, "fore"},
		{"nothing", "/-/breakers/guard/orders", ``, 400, "there is no body"},
		{"unknown", "/-/breakers/guard", `{"force": "closed"}`, 404, ErrNoBreaker.Error()},
		{"no name", "/-/breakers/", `{"force": "closed"}`, 404, ErrNoBreaker.Error()},
		{"a list takes no POST", "/-/breakers", `{"force": "closed"}`, 405, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ask(h, "POST", c.path, c.body, asJSON)
			if got.Code != c.status || !strings.Contains(got.Body.String(), c.says) {
				t.Errorf("%d %s, want %d with %q", got.Code, got.Body, c.status, c.says)
			}
		})
	}
	if got := ask(h, "GET", "/-/breakers/guard/orders", ""); got.Code != 405 {
		t.Errorf("GET of one: %d", got.Code)
	}
}

// TestBreakersNeedTheToken: opening one takes a service away from everybody.
func TestBreakersNeedTheToken(t *testing.T) {
	p := newPanel()
	o := new(daemon).options()
	o.Address, o.Token, o.Hosts, o.ForceBreaker = "10.0.0.1:9901", "a-token-of-some-length", []string{"gateway.example"}, p.force
	h := handler(t, o)
	path, body := "/-/breakers/guard/orders", `{"force": "closed"}`
	if got := ask(h, "POST", path, body, asJSON, "Host: gateway.example"); got.Code != 401 || len(p.asked) != 0 {
		t.Errorf("without a token: %d, asked %q", got.Code, p.asked)
	}
	if got := ask(h, "POST", path, body, asJSON, "Host: gateway.example", "Authorization: Bearer a-token-of-some-length"); got.Code != 200 {
		t.Errorf("with the token: %d %s", got.Code, got.Body)
	}
}

func TestClientForcesABreaker(t *testing.T) {
	p := newPanel()
	o := new(daemon).options()
	o.Breakers, o.ForceBreaker = func() []BreakerInfo { return p.all }, p.force
	s := httptest.NewServer(handler(t, o))
	t.Cleanup(s.Close)
	c, err := Dial(s.Listener.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	all, err := c.Breakers(t.Context())
	if diff := cmp.Diff(p.all, all); err != nil || diff != "" {
		t.Error(err, diff)
	}
	info, err := c.ForceBreaker(t.Context(), "guard/orders", "closed")
	if err != nil || info.State != "closed" {
		t.Error(err, info)
	}
	if _, err := c.ForceBreaker(t.Context(), "guard/a b?c", "closed"); err == nil || err.Error() != ErrNoBreaker.Error() {
		t.Error(err)
	}
	if got := p.asked[1]; !strings.HasPrefix(got, "guard/a b?c closed 127.0.0.1:") {
		t.Errorf("asked for %q", got)
	}
}
