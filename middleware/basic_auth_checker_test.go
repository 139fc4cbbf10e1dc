package middleware

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/pithead/pithead/gateway"
)

// slowHash takes a second, and counts.
type slowHash struct {
	password string
	need     int
	busy     *atomic.Int64 // cores, over all hashes
	most     *atomic.Int64
	checks   atomic.Int64
}

func (h *slowHash) fits(password []byte) bool {
	h.checks.Add(1)
	busy := h.busy.Add(int64(h.need))
	for {
		most := h.most.Load()
		if busy <= most || h.most.CompareAndSwap(most, busy) {
			break
		}
	}
	<-time.After(time.Second)
	h.busy.Add(-int64(h.need))
	return string(password) == h.password
}

func (h *slowHash) cores() int { return h.need }

// office has users whose passwords are their names twice.
type office struct {
	*basicAuth
	busy, most atomic.Int64
	hashes     map[string]*slowHash
}

func newOffice(cores int, users ...string) *office {
	o := &office{hashes: make(map[string]*slowHash)}
	table, _ := newUserTable(nil, "", []byte("#")) // only its seed is wanted; it says that there are no users
	for _, name := range users {
		h := &slowHash{password: name + name, need: 1, busy: &o.busy, most: &o.most}
		o.hashes[name] = h
		u := &user{name: name, hash: h, text: "hash of " + name}
		table.byName[name], table.all = u, append(table.all, u)
	}
	o.basicAuth = &basicAuth{users: table, passwords: newPasswordChecker(cores), cache: time.Minute}
	return o
}

func (o *office) checks() (n int64) {
	for _, h := range o.hashes {
		n += h.checks.Load()
	}
	return n
}

// ask is the reason of the refusal, "" for none.
func (o *office) ask(ctx context.Context, name, password string) string {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.SetBasicAuth(name, password)
	var buf [maxBasic]byte
	c, given, err := o.read(r, buf[:])
	if err == nil {
		err = o.check(ctx, c, given)
	}
	if err != nil {
		return err.Reason
	}
	return ""
}

// asks sends all at once and counts the reasons.
func (o *office) asks(ctx context.Context, n int, who func(i int) (name, password string)) map[string]int {
	var mu sync.Mutex
	var all sync.WaitGroup
	reasons := make(map[string]int)
	for i := range n {
		all.Go(func() {
			name, password := who(i)
			reason := o.ask(ctx, name, password)
			mu.Lock()
			defer mu.Unlock()
			reasons[reason]++
		})
	}
	all.Wait()
	return reasons
}

func want(t *testing.T, got, want map[string]int) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestPasswordsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(1, "ada")
		f := func(password, reason string, checks int64) {
			t.Helper()
			if got := o.ask(t.Context(), "ada", password); got != reason || o.checks() != checks {
				t.Errorf("%q after %d checks, want %q after %d", got, o.checks(), reason, checks)
			}
		}
		f("adaada", "", 1)
		f("adaada", "", 1)
		f("adaad", "bad_credentials", 2)
		f("adaad", "bad_credentials", 3) // what is wrong is not remembered
		<-time.After(58*time.Second - 1)
		f("adaada", "", 3)
		<-time.After(1)
		f("adaada", "", 4)
		o.hashes["ada"].password = "new"
		o.users.byName["ada"].text = "another hash"
		f("adaada", "bad_credentials", 5)
		f("new", "", 6)
		o.cache = 0
		f("new", "", 7)
		f("new", "", 8)
	})
}

// Many connections of one client that come at once are one check, and none of
// them is turned away.
func TestEqualPasswordsAreCheckedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(1, "ada")
		want(t, o.asks(t.Context(), 1000, func(int) (string, string) { return "ada", "adaada" }), map[string]int{"": 1000})
		if n := o.checks(); n != 1 {
			t.Errorf("%d checks", n)
		}
	})
}

// Guessers take the cores that are set apart and no more; the line for them has an
// end, and so has the time in it.
func TestPasswordChecksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(2, "ada", "grace")
		if o.ask(t.Context(), "ada", "adaada") != "" {
			t.Fatal("refused")
		}
		begin := time.Now()
		guesses := make(chan map[string]int)
		go func() {
			guesses <- o.asks(t.Context(), 1000, func(i int) (string, string) { return fmt.Sprint("user", i), "guess" })
		}()
		synctest.Wait()
		// Who has been found right is not held up.
		if reason := o.ask(t.Context(), "ada", "adaada"); reason != "" || time.Since(begin) != 0 {
			t.Errorf("%q after %v", reason, time.Since(begin))
		}
		// Two cores for five seconds, where a check begins in the last moment.
		got := <-guesses
		checked := got["bad_credentials"]
		if checked < 10 || checked > 12 || got["auth_busy"] != 1000-checked || len(got) != 2 {
			t.Errorf("%v", got)
		}
		if o.most.Load() != 2 || time.Since(begin) > maxPasswordWait+time.Second {
			t.Errorf("%d cores were busy, for %v", o.most.Load(), time.Since(begin))
		}
		if len(o.passwords.checks) != 0 || o.passwords.gate.free != 2 || len(o.passwords.gate.line) != 0 {
			t.Error("something is left")
		}
	})
}

func TestBusyAnswer(t *testing.T) {
	o := newOffice(1, "ada")
	o.passwords.gate.longest, o.passwords.gate.free = 0, 0
	w, x := httptest.NewRecorder(), new(gateway.Exchange)
	r := gateway.WithExchange(httptest.NewRequest(http.MethodGet, "/", nil), x)
	r.SetBasicAuth("ada", "adaada")
	o.wrap(http.NotFoundHandler()).ServeHTTP(w, r)
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || x.Err.Reason != "auth_busy" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v %v", w.Code, w.Header(), x.Err)
	}
}

// Checks that nobody waits for any more do not take anybody's turn.
func TestAbandonedChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(1, "ada", "grace")
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan map[string]int)
		go func() {
			gone <- o.asks(ctx, 60, func(i int) (string, string) { return "ada", fmt.Sprint(i / 2) })
		}()
		synctest.Wait()
		leave()
		want(t, <-gone, map[string]int{"client_closed": 60})
		begin := time.Now()
		if reason := o.ask(t.Context(), "grace", "gracegrace"); reason != "" || time.Since(begin) > 2*time.Second {
			t.Errorf("%q after %v", reason, time.Since(begin))
		}
		if n := o.hashes["ada"].checks.Load(); n != 1 {
			t.Errorf("%d checks for nobody", n-1)
		}
	})
}

// One who leaves does not take the answer away from others who wait for the same.
func TestOneOfTwoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(1, "ada")
		ctx, leave := context.WithCancel(t.Context())
		first, second := make(chan string), make(chan string)
		go func() { first <- o.ask(ctx, "ada", "adaada") }()
		synctest.Wait()
		go func() { second <- o.ask(t.Context(), "ada", "adaada") }()
		synctest.Wait()
		leave()
		if a, b := <-first, <-second; a != "client_closed" || b != "" || o.checks() != 1 {
			t.Errorf("%q, %q after %d checks", a, b, o.checks())
		}
	})
}

// Argon2 keeps several cores busy, and gets all of them if it wants more.
func TestCoreGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &coreGate{cores: 2, free: 2, longest: 2}
		if err := errors.Join(g.enter(t.Context(), 1), g.enter(t.Context(), 1)); err != nil {
			t.Fatal(err)
		}
		order := make(chan string, 2)
		big, leave := context.WithCancel(t.Context())
		go func() { _ = g.enter(big, 4); order <- "big" }()
		synctest.Wait()
		go func() { _ = g.enter(t.Context(), 1); order <- "small" }()
		synctest.Wait()
		if err := g.enter(t.Context(), 1); !errors.Is(err, errTooManyPasswords) {
			t.Errorf("the line is longer than 2: %v", err)
		}
		g.leave(1)
		synctest.Wait()
		if len(order) != 0 {
			t.Error("somebody has jumped the queue")
		}
		leave() // and who is behind may go
		if a, b := <-order, <-order; a == b {
			t.Errorf("%s, %s", a, b)
		}
		g.leave(1)
		g.leave(1)
		if err := g.enter(t.Context(), 4); err != nil || g.free != 0 {
			t.Errorf("%v, %d free", err, g.free)
		}
		g.leave(4)
		if g.free != 2 {
			t.Errorf("%d free", g.free)
		}
	})
}

// Who is not known costs what a wrong password costs.
func TestBasicAuthCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(1, "ada", "grace", "joan")
		for _, name := range []string{"ada", "eve", "", "ad", strings.Repeat("x", 500)} {
			before, begin := o.checks(), time.Now()
			if reason := o.ask(t.Context(), name, "guess"); reason != "bad_credentials" || o.checks() != before+1 || time.Since(begin) != time.Second {
				t.Errorf("K18 %.10q: %q after %d checks and %v", name, reason, o.checks()-before, time.Since(begin))
			}
		}
		// Even with the password of the user whose hash stands in, twice.
		for _, password := range []string{"adaada", "gracegrace", "joanjoan"} {
			for range 2 {
				before := o.checks()
				if reason := o.ask(t.Context(), "eve", password); reason != "bad_credentials" || o.checks() != before+1 {
					t.Errorf("K18 %s: %q after %d checks", password, reason, o.checks()-before)
				}
			}
		}
		// The same name has the same stand-in, so that a second try does not tell either.
		first, _ := o.users.find([]byte("eve"))
		for range 10 {
			if again, known := o.users.find([]byte("eve")); again != first || known {
				t.Error("K18: another stand-in")
			}
		}
	})
}

// Each part of what is remembered has its place.
func TestPasswordDigests(t *testing.T) {
	p, ada := newPasswordChecker(1), &user{name: "ada", text: "h"}
	all := []struct {
		claim
		password string
	}{
		{claim{user: ada, name: "user:pa"}, "ss"},
		{claim{user: ada, name: "user"}, ":pass"},
		{claim{user: ada, name: "userh"}, "x"},
		{claim{user: &user{text: "hh"}, name: "user"}, "x"},
		{claim{user: ada, name: "user"}, "hx"},
		{claim{user: ada, name: "user"}, ""},
	}
	var seen [][32]byte
	for _, c := range all {
		d := p.digest(c.claim, []byte(c.password))
		if slices.Contains(seen, d) {
			t.Errorf("I23: %+v has the digest of another", c)
		}
		seen = append(seen, d)
	}
	if newPasswordChecker(1).digest(all[0].claim, []byte(all[0].password)) == seen[0] {
		t.Error("digests can be foretold")
	}
}

func TestBcryptCountsNoMoreThan72Bytes(t *testing.T) {
	password := strings.Repeat("p", maxBcrypt)
	text, err := bcrypt.GenerateFromPassword([]byte(password), minBcryptCost)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parsePasswordHash(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if !h.fits([]byte(password)) || h.fits([]byte(password+"x")) || h.fits([]byte(password[1:])) {
		t.Error("a password that only begins like the right one fits, or the right one does not")
	}
}
