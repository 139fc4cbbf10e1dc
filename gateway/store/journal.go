package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readEvery = 250 * time.Millisecond
	portion   = 200         // entries in a question or an answer
	tellWait  = time.Second // until others can know what they were told
)

// ErrAway says that the store does not answer.
var ErrAway = errors.New("the store is away")

// Entry is something that gateways tell each other. Times are kept in milliseconds.
type Entry struct {
	Name  string // letters, digits, - and _, for all to see who read the store
	At    time.Time
	Until time.Time // when it can be forgotten
}

// text is an entry as the store has it.
func (e Entry) text() string {
	return e.Name + ":" + strconv.FormatInt(e.At.UnixMilli(), 10) + ":" + strconv.FormatInt(e.Until.UnixMilli(), 10)
}

// parseEntry reads one. Whatever else is in the store is none.
func parseEntry(text string) (e Entry, ok bool) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 || parts[0] == "" {
		return e, false
	}
	at, atErr := strconv.ParseInt(parts[1], 10, 64)
	until, untilErr := strconv.ParseInt(parts[2], 10, 64)
	return Entry{parts[0], time.UnixMilli(at), time.UnixMilli(until)}, atErr == nil && untilErr == nil
}

// Memory is what one gateway remembers of a journal.
type Memory interface {
	// Learn is called for each entry in the store, one after the other, and may be called again for
	// the same one.
	Learn(e Entry)
	// Entries are those that were told or learned and still matter.
	Entries() []Entry
}

// Journal is a list of entries in the store, which several gateways read and add to. Each has all of
// them in memory soon after. Entries are not lost with the store: a gateway that finds it
// without those that it has read fills it again.
type Journal struct {
	redis  *Redis
	key    string
	limit  int
	memory Memory

	ctx   context.Context
	stop  context.CancelFunc
	begin sync.Once
	ended chan struct{}
	wake  chan struct{}
	whole chan struct{} // closed when all was read for the first time
	zero  time.Time
	heard atomic.Int64 // when all was read, from zero on; 0 is never

	mu   sync.Mutex
	next *telling // what is told with the next question; nil is nothing

	// Those below belong to the goroutine that asks. Whatever comes before the last entry that was read
	// was in the store with it, and is as long as that one is: replicas that take over have
	// what their master had up to some moment.
	number  string // of that entry
	last    string // "" before the first
	pending []Entry
}

// telling are entries that wait for the next question, and what has become of them when
// done is closed.
type telling struct {
	entries []Entry
	done    chan struct{}
	err     error
}

// NewJournal makes a journal of up to limit entries, which all gateways find under one name. It asks
// nothing before Start.
func NewJournal(r *Redis, name string, limit int, memory Memory) *Journal {
	j := &Journal{
		redis: r, key: r.options.Prefix + ":journal:" + r.Hide([]byte(name)), limit: limit, memory: memory,
		ended: make(chan struct{}), wake: make(chan struct{}, 1), whole: make(chan struct{}), zero: time.Now(),
	}
	j.ctx, j.stop = context.WithCancel(r.ctx)
	return j
}

// Start begins to read, until Close. It may be called again, and returns what is closed once
// all was read.
func (j *Journal) Start() <-chan struct{} {
	j.redis.Start()
	j.begin.Do(func() {
		if !j.redis.Spawn(j.follow) {
			close(j.ended)
		}
	})
	return j.whole
}

// Close ends reading.
func (j *Journal) Close() error {
	j.begin.Do(func() { close(j.ended) }) // whoever comes now is too late
	j.stop()
	<-j.ended
	return nil
}

// Heard says how long ago all was read that others had told, and whether that ever was.
func (j *Journal) Heard() (ago time.Duration, ever bool) {
	at := j.heard.Load()
	return time.Since(j.zero) - time.Duration(at), at > 0
}

// Tell adds an entry that the memory has already. An error means that the others do not know of it
// yet; they are told when the store is back.
func (j *Journal) Tell(ctx context.Context, e Entry) error {
	j.mu.Lock()
	if j.next == nil {
		j.next = &telling{done: make(chan struct{})}
	}
	t := j.next
	t.entries = append(t.entries, e)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return fmt.Errorf("tell other gateways: %w", ctx.Err())
	case <-j.ctx.Done():
		return fmt.Errorf("tell other gateways: %w", ErrAway)
	}
}

// follow asks every now and then, and at once when there is something to tell.
func (j *Journal) follow() {
	defer close(j.ended)
	j.pending = j.memory.Entries()
	for {
		j.mu.Lock()
		t := j.next
		j.next = nil
		j.mu.Unlock()
		if t == nil {
			t = &telling{done: make(chan struct{})}
		}
		j.pending = append(j.pending, t.entries...)
		j.pending = j.pending[max(len(j.pending)-j.limit, 0):]
		t.err = j.exchange()
		close(t.done)
		select {
		case <-j.ctx.Done():
			return
		case <-j.wake:
		case <-time.After(readEvery):
		}
	}
}

// exchange tells what is pending and reads what is new, to the end. What was told is pending
// until then: only when the last entry comes after it will its loss be noticed.
func (j *Journal) exchange() error {
	if !j.redis.Ready() {
		return ErrAway
	}
	told, lost := 0, false
	for {
		start := time.Since(j.zero)
		n := min(len(j.pending)-told, portion)
		a, err := j.ask(j.pending[told : told+n])
		if err != nil {
			return err
		}
		told += n
		if a.lost {
			if lost {
				return fmt.Errorf("%w: the journal is another one each time", ErrAnswer)
			}
			lost, told, j.pending = true, 0, j.memory.Entries()
			j.last, j.number = "", ""
		}
		for _, text := range a.entries {
			if e, ok := parseEntry(text); ok {
				j.memory.Learn(e)
			}
		}
		if n := len(a.entries); n > 0 {
			j.last, j.number = a.entries[n-1], a.number
		}
		if len(a.entries) < portion && told == len(j.pending) {
			j.pending = nil
			if j.heard.Swap(max(int64(start), 1)) == 0 {
				close(j.whole)
			}
			return nil
		}
	}
}
