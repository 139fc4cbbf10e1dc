package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// The gateways that KEYS[1] knows: ARGV[1] is there, and counts for ARGV[2] milliseconds. It
// writes, so that a replica that cannot be written to is no store that is back.
var presentScript = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
`)

// ErrAnswer says that Redis has answered with something else than what was asked for.
var ErrAnswer = errors.New("redis has answered with something else")

// Script is what Redis runs in one step. Its one key is the first of KEYS.
type Script = redis.Script

// NewScript makes one of its text in Lua.
func NewScript(text string) *Script { return redis.NewScript(text) }

// Run has a script run, and read its answer; what read does not take is a failure of Redis.
func (s *Redis) Run(ctx context.Context, script *Script, key string, args []any, read func(answer any) error) error {
	return s.ask(func() (any, error) {
		v, err := script.Run(ctx, s.client, []string{key}, args...).Result()
		if err != nil {
			return nil, err
		}
		return nil, read(v)
	})
}

// Once says whether no gateway has used a name before, within the time that it is remembered for. It
// is used from now on. An error says nothing of that.
func (s *Redis) Once(ctx context.Context, name string, life time.Duration) (first bool, err error) {
	if !s.Ready() {
		return false, ErrAway
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	key := s.options.Prefix + ":once:" + s.Hide([]byte(name))
	err = s.ask(func() (any, error) {
		// SET with NX answers nil when there is a value.
		err := s.client.Do(ctx, "SET", key, "", "NX", "PX", max(life.Milliseconds(), 1)).Err()
		if first = err == nil; errors.Is(err, redis.Nil) {
			err = nil
		}
		return nil, err
	})
	return first, err
}

// ask asks one question, which the breaker and the metrics see.
func (s *Redis) ask(question func() (any, error)) error {
	start := time.Now()
	_, err := s.breaker.Execute(question)
	if !broken(err) {
		s.metrics.Asked(time.Since(start), s.wrong(err))
	}
	if err != nil {
		return fmt.Errorf("ask redis: %w", err)
	}
	return nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
