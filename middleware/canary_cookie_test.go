package middleware_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const (
	half   = "split: {stable: 50, canary: 50}, cookie: arm"
	secret = "cookie_secret: 0123456789abcdef0123456789abcdef"
)

// pin is the cookie that an answer sets, nil for none.
func pin(t testing.TB, a middlewaretest.Answer) *http.Cookie {
	t.Helper()
	lines := a.Header["Set-Cookie"]
	if len(lines) == 0 {
		return nil
	}
	c, err := http.ParseSetCookie(lines[0])
	if err != nil || len(lines) > 1 {
		t.Fatalf("Set-Cookie: %q, %v", lines, err)
	}
	return c
}

func TestCanaryCookie(t *testing.T) {
	env, cluster := orders(t)
	t.Run("both arms are pinned", func(t *testing.T) {
		step, seen := middlewaretest.Build(t, env, "canary: {"+half+"}"), map[string]bool{}
		for range 64 {
			a := send(t, env, step, "GET /", &gateway.Exchange{})
			c := pin(t, a)
			if c == nil || c.Value != a.Exchange.Arm || a.Exchange.ArmBy != "random" {
				t.Fatalf("cookie %v for arm %s by %s", c, a.Exchange.Arm, a.Exchange.ArmBy)
			}
			again := send(t, env, step, "GET /\nCookie: theme=dark; arm="+c.Value, &gateway.Exchange{})
			if again.Exchange.Arm != a.Exchange.Arm || again.Exchange.ArmBy != "cookie" || pin(t, again) != nil {
				t.Fatalf("with the cookie: arm %s by %s, cookie %v", again.Exchange.Arm, again.Exchange.ArmBy, pin(t, again))
			}
			seen[a.Exchange.Arm] = true
		}
		if len(seen) != 2 {
			t.Errorf("only %v seen in 64 draws", seen)
		}
	})
	t.Run("attributes", func(t *testing.T) {
		step := middlewaretest.Build(t, env, "canary: {split: {stable: 1, canary: 0}, cookie: arm}")
		for scheme, want := range map[string]string{
			"https": "arm=stable; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax",
			"http":  "arm=stable; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax",
		} {
			a := send(t, env, step, "GET /", &gateway.Exchange{Scheme: scheme})
			if got := strings.Join(a.Header["Set-Cookie"], "\n"); got != want {
				t.Errorf("%s:\ngot  %s\nwant %s", scheme, got, want)
			}
		}
	})
	t.Run("a split by key is pinned too", func(t *testing.T) {
		a := send(t, env, middlewaretest.Build(t, env, "canary: {"+half+", sticky: client}"), "GET /", &gateway.Exchange{Client: clientAddr})
		if c := pin(t, a); c == nil || c.Value != a.Exchange.Arm || a.Exchange.ArmBy != "split" {
			t.Errorf("cookie %v for arm %s by %s", c, a.Exchange.Arm, a.Exchange.ArmBy)
		}
	})
	middlewaretest.Run(t, env, "canary: {split: {stable: 100, canary: 0}, cookie: arm}", cases{
		{Name: "an arm of weight 0 lets go", Request: "GET /\nCookie: arm=canary", Arm: "stable", ArmBy: "random", Subset: "stable"},
		{
			Name: "a forced arm is not pinned", Request: "GET /\nX-Canary: always", Arm: "canary", ArmBy: "header", Subset: "canary",
			Header: header{"Set-Cookie": ""},
		},
		{
			Name: "the header before the cookie", Request: "GET /\nX-Canary: always\nCookie: arm=stable", Arm: "canary", ArmBy: "header", Subset: "canary",
			Header: header{"Set-Cookie": ""},
		},
	})
	cluster.SetHealthy("canary", 0)
	middlewaretest.Run(t, env, "canary: {split: {stable: 0, canary: 1}, cookie: arm}", cases{
		{Name: "a fallback is not pinned", Arm: "stable", ArmBy: "fallback", Subset: "stable", Header: header{"Set-Cookie": ""}},
		{
			Name: "a fallback unpins nobody", Request: "GET /\nCookie: arm=canary", Arm: "stable", ArmBy: "fallback", Subset: "stable",
			Header: header{"Set-Cookie": ""},
		},
	})
}

// A cache that keeps the gateway's cookie would put all its readers on one arm.
func TestCanaryCookieIsNotCached(t *testing.T) {
	env, cluster := orders(t)
	cluster.Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Set-Cookie", "sid=1")
	})
	block := "canary: {split: {stable: 1, canary: 0}, cookie: arm}"
	middlewaretest.Run(t, env, block, cases{
		{
			Name: "set", Arm: "stable", ArmBy: "random", Subset: "stable",
			Header: header{"Cache-Control": `no-cache="Set-Cookie", public, max-age=60`},
			Check: func(t testing.TB, a middlewaretest.Answer) {
				if lines := a.Header["Set-Cookie"]; len(lines) != 2 || lines[1] != "sid=1" {
					t.Errorf("Set-Cookie: %q", lines)
				}
			},
		},
		{
			Name: "known", Request: "GET /\nCookie: arm=stable", Arm: "stable", ArmBy: "cookie", Subset: "stable",
			Header: header{"Cache-Control": "public, max-age=60", "Set-Cookie": "sid=1"},
		},
	})
	cluster.Break(&gateway.Error{Status: 502, Reason: "broken"})
	middlewaretest.Run(t, env, block, cases{{
		Name: "an error pins nobody", Status: 502, Reason: "broken", To: "orders", Arm: "stable", ArmBy: "random", Subset: "stable",
		Header: header{"Set-Cookie": "", "Cache-Control": "no-store"},
	}})
}

func TestCanaryCookieForged(t *testing.T) {
	env, _ := orders(t)
	f := func(name, settings string, lines ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			step := middlewaretest.Build(t, env, "canary: {"+half+settings+"}")
			for _, line := range lines {
				a := send(t, env, step, "GET /\nCookie: "+line, &gateway.Exchange{})
				if a.Exchange.ArmBy != "random" {
					t.Errorf("%.60q decided by %s", line, a.Exchange.ArmBy)
				}
				if pin(t, a) == nil {
					t.Errorf("%.60q is not replaced", line)
				}
			}
		})
	}
	signed := func(settings string) string {
		t.Helper()
		step := middlewaretest.Build(t, env, "canary: {split: {stable: 0, canary: 1}, cookie: arm, "+settings+"}")
		return pin(t, send(t, env, step, "GET /", &gateway.Exchange{})).Value
	}
	value := signed(secret)
	_, sig, _ := strings.Cut(value, "~")
	f("I19 unsigned", "", "arm=root", "arm=", "arm", "arm=Canary", "arm=beta", "ARM=canary", "xarm=canary", "arm=canary=")
	f("I19 repeated", "", "arm=canary; arm=canary", "arm=canary; theme=dark; arm=stable", "arm=canary\nCookie: arm=canary")
	f("I19 4 KiB", "", "arm="+strings.Repeat("canary", 700), "arm="+strings.Repeat("a=;", 1400))
	f("I19 signed", ", "+secret, "arm=canary", "arm=stable", "arm=canary~", "arm=stable~"+sig, "arm=canary~"+sig+"x", "arm=~"+sig, "arm="+sig,
		"arm="+strings.ToUpper(value), "arm="+value+"; arm="+value, "arm="+strings.Repeat(value, 90))
	f("I19 signed for another split", ", "+secret, "arm="+signed(secret+", salt: other"))
	f("I19 signed with another secret", ", "+secret, "arm="+signed("cookie_secret: another-secret-of-at-least-32-bytes"))

	middlewaretest.Run(t, env, "canary: {"+half+", allow_from: [], "+secret+"}", cases{
		{
			Name: "I18 a signed cookie counts from everywhere", Request: "GET /\nCookie: arm=" + value,
			Arm: "canary", ArmBy: "cookie", Subset: "canary",
		},
	})
	t.Run("I18 an unsigned cookie does not get round allow_from", func(t *testing.T) {
		want := []string{"1:51: anybody could write the cookie and get round allow_from; give a cookie_secret"}
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "canary: {"+half+", allow_from: []}")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
