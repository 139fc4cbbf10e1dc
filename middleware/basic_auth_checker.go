package middleware

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// claim is who somebody claims to be. Whoever is not known is checked against the
// hash of somebody who is, so that the time does not tell who there is; what comes
// of that does not count. The password stands apart from it in a buffer of the
// caller's, which stays on the stack that way.
type claim struct {
	user  *user
	known bool
	name  string // as they call themselves
}

// errTooManyPasswords says that the line for the cores is full, or too slow.
var errTooManyPasswords = errors.New("too many passwords are being checked")

const (
	rememberedPasswords = 4096 // a power of two
	maxPasswordWait     = 5 * time.Second
)

// checkingCores is how many cores of the process may be busy with passwords.
func checkingCores() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// passwordChecker checks the passwords of the whole process. It remembers the ones
// that were right in a table of fixed size that is read without a lock, checks
// equal credentials that come at the same time once, and lets only so many cores
// be busy.
type passwordChecker struct {
	key   [32]byte // makes places in the table unforeseeable
	right [rememberedPasswords]atomic.Pointer[rightPassword]
	gate  coreGate

	mu     sync.Mutex
	checks map[[sha256.Size]byte]*passwordCheck
}

// rightPassword is a password that has been found right.
type rightPassword struct {
	digest [sha256.Size]byte
	at     time.Time
}

// passwordCheck is a check under way, and how many wait for it.
type passwordCheck struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int // guarded by passwordChecker.mu
	fits    bool
	err     error
}

func newPasswordChecker(cores int) *passwordChecker {
	return &passwordChecker{
		key: newSecretKey(), checks: make(map[[sha256.Size]byte]*passwordCheck),
		gate: coreGate{cores: cores, free: cores, longest: waitersPerCore * cores},
	}
}

// digest stands for all that the answer depends on. Each part begins with its
// length: the end of a name is not to be taken for the beginning of a password.
// The hash is part of it, so that a password which has been changed is forgotten.
func (p *passwordChecker) digest(c claim, password []byte) [sha256.Size]byte {
	var buf [2 * maxBasic]byte
	b := append(buf[:0], p.key[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.name)))
	b = append(b, c.name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.user.text)))
	b = append(b, c.user.text...)
	b = append(b, password...)
	return sha256.Sum256(b)
}

func (p *passwordChecker) place(digest *[sha256.Size]byte) *atomic.Pointer[rightPassword] {
	return &p.right[binary.LittleEndian.Uint64(digest[:])%rememberedPasswords]
}

// remembers says whether the password was right within the last ttl.
func (p *passwordChecker) remembers(digest *[sha256.Size]byte, ttl time.Duration) bool {
	right := p.place(digest).Load()
	return right != nil && sameDigest(right.digest, *digest) && time.Since(right.at) < ttl
}

// check says whether the password is that of the claim. Its errors are errTooManyPasswords
// and those of ctx.
func (p *passwordChecker) check(ctx context.Context, c claim, password []byte, ttl time.Duration) (bool, error) {
	digest := p.digest(c, password)
	if p.remembers(&digest, ttl) {
		return true, nil
	}
	return p.join(ctx, digest, c, bytes.Clone(password))
}

// join waits for the check of these credentials, and begins it if nobody has. It
// is given up when nobody waits any more.
func (p *passwordChecker) join(ctx context.Context, digest [sha256.Size]byte, c claim, password []byte) (bool, error) {
	p.mu.Lock()
	check := p.checks[digest]
	if check == nil {
		check = &passwordCheck{done: make(chan struct{})}
		var work context.Context
		work, check.cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), maxPasswordWait, errTooManyPasswords)
		p.checks[digest] = check
		go p.run(work, digest, c, password, check)
	}
	check.waiting++
	p.mu.Unlock()
	select {
	case <-check.done:
		return check.fits, check.err
	case <-ctx.Done():
		p.mu.Lock()
		if check.waiting--; check.waiting == 0 {
			check.cancel()
			p.forget(digest, check)
		}
		p.mu.Unlock()
		return false, ctx.Err()
	}
}

// forget takes a check out of those that others may join. The lock is held.
func (p *passwordChecker) forget(digest [sha256.Size]byte, check *passwordCheck) {
	if p.checks[digest] == check {
		delete(p.checks, digest)
	}
}

func (p *passwordChecker) run(ctx context.Context, digest [sha256.Size]byte, c claim, password []byte, check *passwordCheck) {
	defer check.cancel()
	cores := c.user.hash.cores()
	if check.err = p.gate.enter(ctx, cores); check.err == nil {
		fits := c.user.hash.fits(password)
		check.fits = fits && c.known
		p.gate.leave(cores)
	}
	if check.fits {
		p.place(&digest).Store(&rightPassword{digest: digest, at: time.Now()})
	}
	p.mu.Lock()
	p.forget(digest, check)
	p.mu.Unlock()
	close(check.done)
}

// waitersPerCore is how long the line may be: some three seconds of work.
const waitersPerCore = 64

// coreGate lets checks run on a number of cores and has the others wait in line.
type coreGate struct {
	cores   int
	longest int // of the line

	mu   sync.Mutex
	free int
	line []*coreWaiter
}

type coreWaiter struct {
	need  int
	ready chan struct{}
}

// enter takes need cores, or all that there are if need is more. leave gives the
// same number back.
func (g *coreGate) enter(ctx context.Context, need int) error {
	need = min(need, g.cores)
	g.mu.Lock()
	if len(g.line) == 0 && need <= g.free {
		g.free -= need
		g.mu.Unlock()
		return nil
	}
	if len(g.line) >= g.longest {
		g.mu.Unlock()
		return errTooManyPasswords
	}
	w := &coreWaiter{need: need, ready: make(chan struct{})}
	g.line = append(g.line, w)
	g.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		g.abandon(w)
		return context.Cause(ctx)
	}
}

func (g *coreGate) leave(need int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free += min(need, g.cores)
	g.grant()
}

// abandon takes w out of the line, or gives back what it has just got.
func (g *coreGate) abandon(w *coreWaiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range g.line {
		if other == w {
			g.line = append(g.line[:i], g.line[i+1:]...)
			g.grant() // those behind may need less
			return
		}
	}
	g.free += w.need
	g.grant()
}

// grant lets in who is first in line, in order. The lock is held.
func (g *coreGate) grant() {
	for len(g.line) > 0 && g.line[0].need <= g.free {
		w := g.line[0]
		g.line = g.line[1:]
		g.free -= w.need
		close(w.ready)
	}
}
