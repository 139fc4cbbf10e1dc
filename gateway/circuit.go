package gateway

import (
	"net/http"
	"time"
)

// Circuit says which attempts may be made, and learns how they end. A middleware
// enters it in the exchange, and the cluster asks it below the proxy, attempt by
// attempt. All of it is on the hot path: no lock shared by all requests while
// everything is well.
type Circuit interface {
	// Passes says whether an attempt would be admitted now: at ep or, if that is
	// nil, anywhere. It may draw lots, and so is asked once for each choice.
	Passes(x *Exchange, upstream string, ep *Endpoint) bool
	// PerEndpoint says that Passes depends on the endpoint: one that does not pass
	// is left out of the pick.
	PerEndpoint() bool
	// Admit is asked right before the attempt. Each admission needs one Ended.
	Admit(x *Exchange, upstream string, ep *Endpoint) (Admission, bool)
	// Refused is the error for a request that found no attempt admitted. One that is
	// a Bridge lets a cache in front of the circuit give what it has.
	Refused(x *Exchange, upstream string) *Error
	// Instead carries out a request that found no attempt admitted; nil is
	// Refused. It owns the request's body.
	Instead(x *Exchange) http.RoundTripper

	// FailedStatus says whether an answer with this status is a failure of the service.
	FailedStatus(code int) bool
	// FailedGRPC says the same of the status of a gRPC call. took is how long the
	// call was; own, that its caller has set it an end.
	FailedGRPC(code int, took time.Duration, own bool) bool
}

// Outcome is what the end of an attempt says of the service.
type Outcome uint8

// The outcomes of attempts.
const (
	OutcomeNone Outcome = iota // nothing: the client or the gateway has ended it
	OutcomeGood
	OutcomeBad
)

// Admission is an attempt that a circuit has admitted. The zero value is that of
// an attempt without a circuit.
type Admission struct {
	Of     Admitter
	Number uint64 // for Of
}

// Admitter is what has admitted an attempt.
type Admitter interface {
	// Answered says that the head of the answer is there, and that a stream
	// follows whose end may be far away.
	Answered(number uint64, stream bool)
	// Ended says how the attempt has ended, with the last byte of the answer.
	// waited is how long the service took for the head, without the time in which
	// the client was to move; 0 when that is not known.
	Ended(number uint64, o Outcome, waited time.Duration)
}

// Answered tells the circuit, if there is one.
func (a Admission) Answered(stream bool) {
	if a.Of != nil {
		a.Of.Answered(a.Number, stream)
	}
}

// Ended tells the circuit, if there is one.
func (a Admission) Ended(o Outcome, waited time.Duration) {
	if a.Of != nil {
		a.Of.Ended(a.Number, o, waited)
	}
}
