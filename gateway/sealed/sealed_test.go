package sealed_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway/sealed"
)

func ring(t testing.TB, purpose string, secrets ...string) *sealed.Keyring {
	t.Helper()
	for i := range secrets {
		secrets[i] += strings.Repeat("-", sealed.MinSecret)
	}
	k, err := sealed.NewKeyring(secrets, purpose)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyring(t *testing.T) {
	text := ring(t, "p", "one").Seal([]byte("plain"))
	for name, k := range map[string]*sealed.Keyring{
		"same": ring(t, "p", "one"), "rotated": ring(t, "p", "two", "one"),
	} {
		if plain, err := k.Open(text); err != nil || string(plain) != "plain" {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
	for name, k := range map[string]*sealed.Keyring{
		"other key": ring(t, "p", "two"), "other purpose": ring(t, "q", "one"),
	} {
		if _, err := k.Open(text); !errors.Is(err, sealed.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ring(t, "p", "one").Seal([]byte("plain")) == text {
		t.Error("the same text is sealed in the same way twice")
	}
	if _, err := ring(t, "p", "one").Open(ring(t, "p", "two", "one").Seal(nil)); !errors.Is(err, sealed.ErrSealed) {
		t.Errorf("it was not the first key that sealed: %v", err)
	}
}

func TestEveryBitOfASealedTextCounts(t *testing.T) {
	k := ring(t, "p", "one")
	text := k.Seal([]byte("plain"))
	for i := range text {
		for _, c := range "Aa0_=+ \n" {
			forged := text[:i] + string(c) + text[i+1:]
			if forged != text {
				if _, err := k.Open(forged); !errors.Is(err, sealed.ErrSealed) {
					t.Errorf("byte %d as %q: %v", i, c, err)
				}
			}
		}
		if _, err := k.Open(text[:i]); !errors.Is(err, sealed.ErrSealed) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

func TestNewKeyringRefuses(t *testing.T) {
	long := strings.Repeat("k", sealed.MinSecret)
	for name, secrets := range map[string][]string{
		"none": nil, "short": {long[1:]}, "short second": {long, "x"}, "many": strings.Fields(strings.Repeat(long+" ", sealed.MaxSecrets+1)),
	} {
		if _, err := sealed.NewKeyring(secrets, "p"); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// round writes a text and returns the request of a browser that had the cookies of a
// request before.
func round(t *testing.T, j sealed.Jar, before http.Header, text string) http.Header {
	t.Helper()
	answer := http.Header{}
	if err := j.Write(answer, before, text, time.Hour); err != nil {
		t.Fatal(err)
	}
	return browse(t, before, answer)
}

func browse(t *testing.T, before, answer http.Header) http.Header {
	t.Helper()
	all := map[string]string{}
	old := http.Request{Header: before}
	for _, c := range old.Cookies() {
		all[c.Name] = c.Value
	}
	for _, line := range answer["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil || len(line) > 4096 {
			t.Fatalf("%d bytes, %v", len(line), err)
		}
		if c.MaxAge < 0 {
			delete(all, c.Name)
		} else {
			all[c.Name] = c.Value
		}
	}
	r := http.Request{Header: http.Header{}}
	for name, value := range all {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r.Header
}

func TestJarSplits(t *testing.T) {
	j := sealed.Jar{Name: "__Host-" + strings.Repeat("n", 57), Secure: true}
	h := http.Header{"Cookie": {"basket=3"}}
	for _, n := range []int{1, 3800, 3801, 4 * 3800, 7000, 1} { // larger, and smaller again
		text := strings.Repeat("x", n-1) + "y"
		h = round(t, j, h, text)
		if got, ok := j.Read(h); !ok || got != text {
			t.Errorf("of %d bytes %d are back, %t", n, len(got), ok)
		}
		if want := 1 + (n+3799)/3800; len((&http.Request{Header: h}).Cookies()) != want {
			t.Errorf("for %d bytes the browser has %d cookies, want %d", n, len((&http.Request{Header: h}).Cookies()), want)
		}
	}
	if err := j.Write(http.Header{}, h, strings.Repeat("x", 4*3800+1), time.Hour); !errors.Is(err, sealed.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	answer := http.Header{}
	j.Clear(answer, h)
	if left := browse(t, h, answer).Get("Cookie"); left != "basket=3" {
		t.Errorf("left is %q", left)
	}
}

func TestJarReadsAllOrNothing(t *testing.T) {
	j := sealed.Jar{Name: "s"}
	f := func(cookies, want string, wantOK bool) {
		t.Helper()
		if got, ok := j.Read(http.Header{"Cookie": strings.Split(cookies, "|")}); got != want || ok != wantOK {
			t.Errorf("%s is %q, %t", cookies, got, ok)
		}
	}
	f("s=1.abc", "abc", true)
	f("a=b; s=2.abc; s-1=def", "abcdef", true)
	f("s-1=def|s=2.abc", "abcdef", true)
	f("s=1.abc; s-1=left over", "abc", true)
	f("s=1.abc; t=1; s-4=x; s-0=y; s-10=z; ss=q; s-=r", "abc", true)
	f("s=2.abc", "", false)
	f("s=1.abc; s=1.abc", "", false)
	f("s=2.abc; s-1=d; s-1=e", "", false)
	f("s=0.abc", "", false)
	f("s=5.abc", "", false)
	f("s=abc", "", false)
	f("s=1", "", false)
	f("s", "", false)
	f("", "", false)
}

// Names are the same wherever the key is, and of each key, purpose and text there is one.
func TestNames(t *testing.T) {
	old, next := strings.Repeat("o", 32), strings.Repeat("n", 32)
	both := ring(t, "p", next, old).Names("sid s1")
	if len(both) != 2 || both[0] != ring(t, "p", next).Names("sid s1")[0] || both[1] != ring(t, "p", old).Names("sid s1")[0] {
		t.Errorf("%q", both)
	}
	seen := make(map[string]bool)
	for _, name := range []string{both[0], both[1], ring(t, "q", next).Names("sid s1")[0], ring(t, "p", next).Names("sid s2")[0]} {
		if seen[name] || len(name) != 22 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Errorf("the name %q", name)
		}
		seen[name] = true
	}
}

func TestMemoryAll(t *testing.T) {
	m, now := sealed.NewMemory[int](3), time.Now()
	all := func() (got string) {
		for key, v := range m.All(now) {
			got += fmt.Sprint(key, v, " ")
		}
		return got
	}
	if got := all(); got != "" {
		t.Errorf("nothing is %q", got)
	}
	m.Put("a", 1, now, now.Add(time.Hour))
	m.Put("b", 2, now, now)
	m.Put("c", 3, now, now.Add(time.Hour))
	m.Put("a", 4, now, now.Add(time.Hour))
	if got := all(); got != "c3 a4 " {
		t.Errorf("all is %q", got)
	}
	for key := range m.All(now) {
		if key != "c" {
			t.Errorf("%s after the end", key)
		}
		break
	}
}

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sealed.NewMemory[int](3)
		put := func(key string, v int, d time.Duration) { m.Put(key, v, time.Now(), time.Now().Add(d)) }
		is := func(key string, want int) {
			t.Helper()
			if got, ok := m.Get(key, time.Now()); got != want || ok != (want != 0) {
				t.Errorf("%s is %d, %t, want %d", key, got, ok, want)
			}
		}
		is("a", 0)
		put("a", 1, time.Minute)
		put("b", 2, time.Hour)
		<-time.After(time.Minute)
		is("a", 0)
		is("b", 2)
		if got, was := m.GetOrPut("b", 7, time.Now(), time.Now().Add(time.Hour)); got != 2 || !was {
			t.Errorf("got %d, %t", got, was)
		}
		if got, was := m.GetOrPut("a", 7, time.Now(), time.Now().Add(time.Hour)); got != 7 || was {
			t.Errorf("got %d, %t", got, was)
		}
		for i := range 3 {
			put(fmt.Sprint(i), i+1, time.Hour)
		}
		is("a", 0) // the oldest made room
		is("2", 3)
		if m.Len() != 3 {
			t.Errorf("%d values", m.Len())
		}
	})
}

func FuzzJar(f *testing.F) {
	f.Add("s=1.abc")
	f.Add("s=2.abc; s-1=def")
	f.Add("s=4.; s-1=; s-2=; s-3=")
	k := ring(f, "p", "one")
	f.Add("s=1." + k.Seal([]byte("x")))
	f.Fuzz(func(t *testing.T, line string) {
		j := sealed.Jar{Name: "s"}
		text, ok := j.Read(http.Header{"Cookie": {line}})
		if !ok && text != "" {
			t.Errorf("%q is no text and is %q", line, text)
		}
		if plain, err := k.Open(text); err == nil && string(plain) != "x" {
			t.Errorf("%q opens as %q", line, plain)
		}
	})
}
