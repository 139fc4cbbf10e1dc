package shared

import (
	"context"
	"fmt"

	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/store"
)

// The bucket of KEYS[1]. ARGV[1] is how many requests want to pass; then, for each
// limit: its name, the time that a request takes, how far from full a bucket may be, how
// far with debt, and a change to make first, all in nanoseconds.
//
// What is missing shrinks with the clock of Redis, and a clock that is set back,
// or that of a replica which has taken over, only lets it shrink later. Sums stay below
// 2^53, up to which numbers of Lua are whole, for 104 days.
var takeScript = store.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limits = (#ARGV - 1) / 5
local fields = {'at'}
for i = 1, limits do fields[i + 1] = ARGV[5 * i - 3] end
local had = redis.call('HMGET', KEYS[1], unpack(fields))
local passed = math.max(now - (tonumber(had[1]) or now), 0) * 1000
local granted, changed, missing = tonumber(ARGV[1]), false, {}
for i = 1, limits do
  local each, room = tonumber(ARGV[5 * i - 2]), tonumber(ARGV[5 * i - 1])
  local most, change = tonumber(ARGV[5 * i]), tonumber(ARGV[5 * i + 1])
  local m = math.min(math.max((tonumber(had[i + 1]) or 0) - passed, 0), most)
  missing[i] = math.min(math.max(m + change, 0), most)
  changed = changed or missing[i] ~= m
  granted = math.min(granted, math.max(math.floor((room - missing[i]) / each), 0))
end
local answer, longest, wait, write = {granted, 0, 0}, 0, 0, {'at', string.format('%.0f', now)}
for i = 1, limits do
  local each, room = tonumber(ARGV[5 * i - 2]), tonumber(ARGV[5 * i - 1])
  missing[i] = missing[i] + granted * each
  longest = math.max(longest, missing[i])
  if missing[i] + each - room > wait then
    wait = missing[i] + each - room
    answer[2], answer[3] = i, wait
  end
  answer[i + 3] = missing[i]
  write[2 * i + 1], write[2 * i + 2] = fields[i + 1], string.format('%.0f', missing[i])
end
if granted > 0 or changed then
  redis.call('HSET', KEYS[1], unpack(write))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(longest / 1000000) + 1000))
end
return answer
`)

// measure is a limit as the script has it, in nanoseconds.
type measure struct {
	limiter.Limit
	token int64 // one token
	each  int64 // one request
	room  int64 // how far from full a bucket without debt may be
	most  int64 // and one with debt
}

func newMeasure(l limiter.Limit, cost int64) measure {
	token := int64(l.Interval())
	return measure{Limit: l, token: token, each: cost * token, room: l.Burst * token, most: (l.Burst + l.Debt) * token}
}

// answer is what the script has said.
type answer struct {
	granted int64
	limit   int   // the limit that lets the next request wait longest
	wait    int64 // for the next request, in nanoseconds; 0 if one could pass now
	missing [limiter.MaxLimits]int64
}

// ask runs the script. changes has a time for each limit.
func (l *Limiter) ask(ctx context.Context, key string, requests int64, changes [limiter.MaxLimits]int64) (a answer, err error) {
	limits := l.limits
	args := make([]any, 1, 1+5*len(limits))
	args[0] = requests
	for i, l := range limits {
		args = append(args, l.Name, l.each, l.room, l.most, changes[i])
	}
	err = l.store.Run(ctx, takeScript, key, args, func(v any) error {
		numbers, err := integers(v)
		if err != nil {
			return err
		}
		if len(numbers) != 3+len(limits) || numbers[0] < 0 || numbers[0] > requests || numbers[1] < 0 || numbers[1] > int64(len(limits)) {
			return fmt.Errorf("%w: %d", store.ErrAnswer, numbers)
		}
		a = answer{granted: numbers[0], limit: max(int(numbers[1])-1, 0), wait: numbers[2]}
		copy(a.missing[:], numbers[3:])
		return nil
	})
	return a, err
}

func integers(v any) ([]int64, error) {
	list, ok := v.([]any)
	numbers := make([]int64, len(list))
	for i, one := range list {
		n, isNumber := one.(int64)
		ok = ok && isNumber
		numbers[i] = n
	}
	if !ok {
		return nil, fmt.Errorf("%w: %T", store.ErrAnswer, v)
	}
	return numbers, nil
}
