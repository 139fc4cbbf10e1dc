package store

import (
	"context"
	"fmt"
	"strconv"
)

// The journal of KEYS[1], a sorted set: entries by numbers, which grow. ARGV[1] is the number of the
// last entry that was read, ARGV[2] that entry, ARGV[3] how many are wanted, ARGV[4] how many
// there may be; then come entries to add, which end with the time up to which they matter.
//
// Entries whose time is over go from the front when others are added; one behind another
// that matters longer waits for it.
var journalScript = NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function left(entry) return (tonumber(string.match(entry, '%d+$')) or 0) - now end
local from, lost = ARGV[1], 0
if ARGV[2] ~= '' and tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or -1) ~= tonumber(from) then
  from, lost = '0', 1
end
local number, longest = 0, 0
if #ARGV > 4 then
  number = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or 0)
end
for i = 5, #ARGV do
  local matters = left(ARGV[i])
  if matters > 0 and not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    number = number + 1
    redis.call('ZADD', KEYS[1], string.format('%.0f', number), ARGV[i])
    longest = math.max(longest, matters)
  end
end
if longest > 0 then
  for _, entry in ipairs(redis.call('ZRANGE', KEYS[1], 0, 99)) do
    if left(entry) > 0 then break end
    redis.call('ZREM', KEYS[1], entry)
  end
  local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
  if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1) end
  if redis.call('PTTL', KEYS[1]) < longest + 1000 then
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', longest + 1000))
  end
end
return {lost, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])}
`)

// page is an answer of the script.
type page struct {
	lost    bool // the entry that was read last is not there, so this begins at the front
	entries []string
	number  string // of the last one
}

// ask tells the store of entries and reads some that are new.
func (j *Journal) ask(entries []Entry) (p page, err error) {
	ctx, cancel := context.WithTimeout(j.ctx, j.redis.options.Timeout)
	defer cancel()
	number := j.number
	if number == "" {
		number = "0"
	}
	args := make([]any, 0, 4+len(entries))
	args = append(args, number, j.last, portion, j.limit)
	for _, e := range entries {
		args = append(args, e.text())
	}
	err = j.redis.Run(ctx, journalScript, j.key, args, func(answer any) (err error) {
		p, err = readPage(answer)
		return err
	})
	return p, err
}

func readPage(answer any) (p page, err error) {
	parts, _ := answer.([]any)
	if len(parts) != 2 {
		return p, fmt.Errorf("%w: %T", ErrAnswer, answer)
	}
	lost, isNumber := parts[0].(int64)
	list, isList := parts[1].([]any)
	if !isNumber || !isList || len(list)%2 != 0 || len(list) > 2*portion {
		return p, fmt.Errorf("%w: %T and %T", ErrAnswer, parts[0], parts[1])
	}
	p.lost = lost != 0
	for i := 0; i < len(list); i += 2 {
		text, isText := list[i].(string)
		number, isToo := list[i+1].(string)
		if _, err := strconv.ParseInt(number, 10, 64); !isText || !isToo || err != nil {
			return p, fmt.Errorf("%w: the number %v", ErrAnswer, list[i+1])
		}
		p.entries, p.number = append(p.entries, text), number
	}
	return p, nil
}
