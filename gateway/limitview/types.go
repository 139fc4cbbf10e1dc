package limitview

import "time"

// Report is the state of all limits of a process. Each list is sorted by name.
type Report struct {
	Rates       []Rate        `json:"rates"`
	Concurrency []Concurrency `json:"concurrency"`
	Adaptive    []Adaptive    `json:"adaptive"`
	LeftOff     int           `json:"left_off,omitempty"` // limits that the report has no room for
	Overload    Overload      `json:"overload"`
}

// Rate is a limit of requests in a time: a block `rate_limit`.
type Rate struct {
	Name      string   `json:"name"`
	Algorithm string   `json:"algorithm"` // gcra
	Limits    []Limit  `json:"limits"`
	By        []string `json:"by"`                // what has a bucket: client, subject, header:NAME ...
	Cost      int64    `json:"cost"`              // tokens of a request
	DryRun    bool     `json:"dry_run,omitempty"` // what is denied passes all the same
	Keys      int      `json:"keys"`              // whose buckets are not full
	MaxKeys   int      `json:"max_keys"`          // with a bucket of their own
	Crowded   uint64   `json:"crowded"`           // decisions about keys that had to share a bucket
	Allowed   uint64   `json:"allowed"`           // since the block is there
	Denied    uint64   `json:"denied"`
	Store     Store    `json:"store"`
	Caller    *Caller  `json:"caller,omitempty"` // only if one was asked for
}

// Limit is a rate with a burst.
type Limit struct {
	Name    string  `json:"name"`
	Tokens  int64   `json:"tokens"`      // that come back in each period
	Period  Seconds `json:"per_seconds"` //
	Burst   int64   `json:"burst"`
	Window  Seconds `json:"window_seconds"` // in which an empty bucket fills
	MaxDebt int64   `json:"max_debt,omitempty"`
}

// Store is where the buckets are.
type Store struct {
	Kind     string  `json:"kind"`     // local or redis
	Deciding string  `json:"deciding"` // who decides now: local, redis, or, while Redis is away, open or closed
	Redis    *Redis  `json:"redis,omitempty"`
	Share    []Limit `json:"share,omitempty"` // of the limits that this gateway keeps by itself while Redis is away
}

// Redis is a store that several gateways share.
type Redis struct {
	Address   string            `json:"address"`
	Up        bool              `json:"up"`
	Breaker   string            `json:"breaker"`         // closed, half-open or open
	Error     string            `json:"error,omitempty"` // the last one, while it is away
	Gateways  int64             `json:"gateways"`        // that share the limits
	OnError   string            `json:"on_store_error"`
	Lease     int64             `json:"lease"`     // tokens that may be taken at once for one caller; 0 is none
	Decisions map[string]uint64 `json:"decisions"` // by who has decided
}

// Concurrency is a limit of requests at a time: a block `concurrency`.
type Concurrency struct {
	Name     string            `json:"name"`
	Adaptive bool              `json:"adaptive"`
	Limit    int               `json:"limit"` // in force
	Min      int               `json:"min"`
	Max      int               `json:"max"`
	Active   int               `json:"active"`
	Waiting  int               `json:"waiting"`
	Queue    int               `json:"queue"`                      // that may wait
	Baseline Seconds           `json:"baseline_seconds,omitempty"` // what answers take when the service has little to do
	Latency  Seconds           `json:"latency_seconds,omitempty"`  // what they took when the limit was last moved
	Refused  map[string]uint64 `json:"refused"`                    // by priority
}

// Adaptive is a limit that follows the health of a service: a block `adaptive_limit`.
type Adaptive struct {
	Name      string            `json:"name"`
	State     string            `json:"state"`                      // healthy, recovering, degraded or broken
	Why       string            `json:"why"`                        // for people
	Limit     float64           `json:"limit_per_second,omitempty"` // absent while everything passes
	P95       Seconds           `json:"p95_seconds"`                // of the answers, when it last looked
	Target    Seconds           `json:"target_seconds"`
	Errors    float64           `json:"errors"` // share of failures, when it last looked
	MaxErrors float64           `json:"max_errors"`
	Refused   map[string]uint64 `json:"refused"` // by priority
}

// Overload is what the process does about its own load.
type Overload struct {
	Step      string     `json:"step"`     // normal, close, shed or stop
	Refusing  float64    `json:"refusing"` // share of the requests
	Refused   uint64     `json:"refused"`
	Resources []Resource `json:"resources"` // that are watched
}

// Resource is something that can run out: memory as a share of what there is to use, cpu as
// the seconds that 99 % of the waits for a processor do not exceed.
type Resource struct {
	Name     string  `json:"name"`
	Pressure float64 `json:"pressure"`
	Known    bool    `json:"known"` // false while there is too little to tell by
	Close    float64 `json:"close"` // the pressure from which connections end after their answers
	Shed     float64 `json:"shed"`  // and requests are refused
	Stop     float64 `json:"stop"`  // and no connections are accepted
}

// Caller is what somebody has left of a limit.
type Caller struct {
	Left     []Left   `json:"left,omitempty"`
	Told     string   `json:"told,omitempty"`     // by redis, by local, or by whoever decides while Redis is away
	Missing  []string `json:"missing,omitempty"`  // parts of the key that were not given; with Left, the client's address takes their place
	Unbound  bool     `json:"unbound,omitempty"`  // requests without these parts pass without a limit
	Rejected bool     `json:"rejected,omitempty"` // or are answered 400
}

// Left is what is left in one bucket.
type Left struct {
	Name      string  `json:"name"` // of the limit
	Remaining int64   `json:"remaining"`
	Full      Seconds `json:"full_in_seconds"`
}

// Seconds are a duration that JSON has as a number.
type Seconds float64

// In is d in seconds.
func In(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// Duration is the same for people.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }
