package gateway

import (
	"slices"
	"time"
)

// RetryOn is a set of the ways in which an attempt may end without an answer.
type RetryOn uint8

// The ways for an attempt to end without an answer.
const (
	RetryConnectFailure RetryOn = 1 << iota // no connection: nothing of the request has left
	RetryReset                              // the connection ended before the head of the answer
	RetryTimeout                            // the head of the answer did not come in time
)

// Retry says which attempts of a request are made again. A middleware enters it
// in the exchange, and the cluster follows it below the proxy. It never changes
// once a request can see it.
type Retry struct {
	Attempts int           // further attempts after the first; 0 leaves only PerTry
	PerTry   time.Duration // how long an attempt may wait for the head of its answer; 0 is the upstream's own limit

	On       RetryOn
	Statuses []StatusRange // of answers that are not handed on while there are attempts left
	GRPC     []int         // the same for the status of gRPC calls, when it comes without a message
	Methods  []string      // that may reach the service twice
	Body     int64         // bytes of the request's body that are kept to be sent again

	BackoffMin              time.Duration // every wait is at least this
	BackoffBase, BackoffMax time.Duration // of the random part of the waits
	Budget                  RetryBudget

	Hedge       *Hedge // nil: there is one attempt at a time
	LeaveCanary bool   // a further round goes to the arm that the exchange may leave its own for
}

// Hedge makes another attempt beside one that takes long, and takes the answer
// that comes first.
type Hedge struct {
	After time.Duration // what is long; 0 is what Share of the upstream's latest answers took at most
	Share float64       // 0 to 1
	Least time.Duration // what is long at least, if Share decides
	Max   int           // attempts beside the first one
}

// Arm is where the requests of a canary's arm go.
type Arm struct {
	Name    string
	Cluster Cluster
	Subset  string
}

// RetryBudget bounds the retries of one upstream, so that they cannot become
// most of the load of a service that is failing under its load.
type RetryBudget struct {
	Percent int           // of the requests within the window
	Min     int           // retries within the window that are allowed in any case
	Window  time.Duration // whole seconds, at most MaxRetryWindow
}

// MaxRetryWindow is the longest window of a budget.
const MaxRetryWindow = time.Minute

// StatusRange are HTTP statuses, both ends included.
type StatusRange struct{ From, To int }

// Status says whether an answer with this status is to be asked for again.
func (r *Retry) Status(code int) bool {
	return slices.ContainsFunc(r.Statuses, func(s StatusRange) bool { return s.From <= code && code <= s.To })
}

// Method says whether a request with this method may reach the service twice.
func (r *Retry) Method(method string) bool { return slices.Contains(r.Methods, method) }
