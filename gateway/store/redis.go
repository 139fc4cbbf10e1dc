package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"github.com/pithead/pithead/gateway/obs"
)

const (
	breakerWindow  = 10 * time.Second
	breakerStep    = time.Second
	breakerPause   = 500 * time.Millisecond // without a question
	breakerAtLeast = 10
	breakerInARow  = 3

	presence = 2 * time.Second        // between two signs of life
	absence  = 10 * time.Second       // without one, after which a gateway counts no more
	retry    = 250 * time.Millisecond // between two attempts to find Redis back
	attempts = 4                      // to find it for the first time, before the log tells
)

// Redis is a server at work, or a group of them: its connections, and whether it is worth asking.
// It is safe for use by several goroutines.
type Redis struct {
	options Options
	client  redis.UniversalClient
	breaker *gobreaker.CircuitBreaker[any]
	metrics *obs.Store
	log     *slog.Logger
	id      string            // of this gateway, among those that Redis knows
	secret  [sha256.Size]byte // of the names of keys

	ctx     context.Context
	stop    context.CancelFunc
	mu      sync.Mutex // no goroutine begins after stop
	running sync.WaitGroup
	begin   sync.Once
	wake    chan struct{} // Redis is to be looked for at once
	found   chan struct{} // closed when Redis has answered for the first time

	ready    atomic.Bool // questions are worth while
	told     atomic.Bool // of troubles, in the log
	gateways atomic.Int64
	why      atomic.Pointer[error] // the last failure
}

// New makes one. It connects to nobody before Start.
func New(o Options, metrics *obs.Store, log *slog.Logger) *Redis {
	s := &Redis{
		options: o, metrics: metrics, log: log.With("store", o.Name()), id: rand.Text(),
		secret: sha256.Sum256([]byte(o.Prefix + "\x00" + o.Password)), found: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.breaker = gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Name: o.Name(), MaxRequests: 1, Timeout: breakerPause,
		Interval: breakerWindow, BucketPeriod: breakerStep, // without them old failures would count for ever
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return n.ConsecutiveFailures >= breakerInARow || n.Requests >= breakerAtLeast && n.TotalFailures*2 >= n.Requests
		},
		IsExcluded: func(err error) bool { return s.ctx.Err() != nil || isWrongType(err) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				s.away()
			}
		},
	})
	return s
}

// Start connects to Redis, and looks after it until Close. It may be called again, and
// returns what is closed once Redis has answered.
func (s *Redis) Start() <-chan struct{} {
	s.begin.Do(func() {
		s.client = s.options.connect()
		s.Spawn(s.attend)
	})
	return s.found
}

// Spawn runs f beside the caller until Close, which waits for it; not if there was one.
func (s *Redis) Spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.running.Go(f)
	return true
}

// attend tells Redis that the gateway is there, and finds out whether Redis is: no request
// has to try.
func (s *Redis) attend() {
	for tries := 1; ; tries++ {
		err := s.tell()
		wait := presence
		switch {
		case err == nil:
			s.back()
		case s.ctx.Err() != nil:
			return
		default:
			if wait = retry; tries == attempts && !s.ready.Load() && !s.told.Swap(true) {
				s.log.Warn("the store cannot be reached", "error", err)
			}
		}
		if !s.ready.Load() {
			wait = retry
		}
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-time.After(wait):
		}
	}
}

// tell is one sign of life.
func (s *Redis) tell() error {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.Timeout)
	defer cancel()
	return s.Run(ctx, presentScript, s.present(), []any{s.id, milliseconds(absence)}, func(answer any) error {
		n, ok := answer.(int64)
		if !ok {
			return fmt.Errorf("%w: %T", ErrAnswer, answer)
		}
		s.gateways.Store(max(n, 1))
		s.metrics.Gateways(n)
		return nil
	})
}

func (s *Redis) present() string { return s.options.Prefix + ":gateways" }

// back is called after each sign of life.
func (s *Redis) back() {
	if s.breaker.State() != gobreaker.StateClosed || s.ready.Swap(true) {
		return
	}
	s.metrics.Ready(true)
	select {
	case <-s.found:
	default:
		close(s.found)
	}
	if s.told.Swap(false) {
		s.log.Info("the store is back")
	}
}

// away is called when the breaker has opened.
func (s *Redis) away() {
	if !s.ready.Swap(false) {
		return
	}
	s.metrics.Ready(false)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.told.Store(true)
	_, why := s.Failure()
	s.log.Warn("the store is away", "error", why)
}

// Failure is what the last question has failed by that did, and a word for it; nil if none has.
func (s *Redis) Failure() (word string, err error) {
	if p := s.why.Load(); p != nil {
		return wordFor(*p), *p
	}
	return "", nil
}

// Ready says whether Redis answers, as far as is known.
func (s *Redis) Ready() bool { return s.ready.Load() }

// State is what there is to know of the way to Redis.
type State struct {
	Up      bool
	Breaker string // closed, half-open or open
	Why     error  // of the last failure; nil while Redis is there
}

// State is the present one.
func (s *Redis) State() State {
	now := State{Up: s.ready.Load(), Breaker: s.breaker.State().String()}
	if why := s.why.Load(); why != nil && !now.Up {
		now.Why = *why
	}
	return now
}

// Gateways is how many share the store, as far as Redis has last told.
func (s *Redis) Gateways() int64 { return max(s.gateways.Load(), 1) }

// Close ends all questions and takes the gateway out of those that Redis knows.
func (s *Redis) Close() error {
	s.begin.Do(func() {}) // whoever comes now is too late
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.running.Wait()
	s.metrics.Forget()
	if s.client == nil {
		return nil
	}
	if s.ready.Swap(false) {
		ctx, cancel := context.WithTimeout(context.Background(), s.options.Timeout)
		defer cancel()
		_ = s.client.ZRem(ctx, s.present(), s.id).Err() // without it the gateway is forgotten soon
	}
	if err := s.client.Close(); !errors.Is(err, redis.ErrClosed) {
		return err
	}
	return nil
}

// broken says whether the breaker let nothing through.
func broken(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}

// wrong is a word for an error, for metrics; "" for none. It remembers the error.
func (s *Redis) wrong(err error) string {
	if err == nil {
		return ""
	}
	s.why.Store(&err)
	return wordFor(err)
}

func wordFor(err error) string {
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), isNet && netErr.Timeout(), errors.Is(err, redis.ErrPoolTimeout):
		return "timeout"
	case redis.IsReadOnlyError(err), redis.IsMasterDownError(err), redis.IsNoReplicasError(err):
		return "read_only"
	case redis.IsLoadingError(err):
		return "loading"
	case redis.IsClusterDownError(err), redis.IsTryAgainError(err), isMoved(err):
		return "cluster"
	case redis.IsAuthError(err), redis.IsPermissionError(err):
		return "denied"
	case redis.IsOOMError(err), redis.IsMaxClientsError(err):
		return "full"
	case isWrongType(err):
		return "wrong_type"
	case errors.Is(err, ErrAnswer):
		return "answer"
	}
	return "connection"
}

// isWrongType says that the key of one caller holds something else, which says nothing of Redis.
func isWrongType(err error) bool { return err != nil && strings.Contains(err.Error(), "WRONGTYPE") }

// isMoved is what a node of a cluster answers to a client that takes it for a server.
func isMoved(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, asked := redis.IsAskError(err)
	return moved || asked
}

// Name is what metrics and logs call the store.
func (s *Redis) Name() string { return s.options.Name() }

// Prefix is what the names of all keys begin with.
func (s *Redis) Prefix() string { return s.options.Prefix }

// Within is a context for one question. It ends with the store, too.
func (s *Redis) Within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, s.options.Timeout)
}

// Hide is what a text is called in the names of keys. Nobody who reads it learns what the text is
// without the password.
func (s *Redis) Hide(text []byte) string {
	room := make([]byte, 0, 512)
	sum := sha256.Sum256(append(append(room, s.secret[:]...), text...))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
