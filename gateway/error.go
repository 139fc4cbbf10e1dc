package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Cause says who made a request fail. Only CauseUpstream and CauseNetwork may
// count against an endpoint; only CauseGateway is worth waking an operator of
// this process for.
type Cause uint8

// The causes of failure.
const (
	CauseGateway  Cause = iota // this process: a bug, a limit, no route, no healthy endpoint
	CauseClient                // malformed, too large, too slow, unauthorised, or gone
	CauseUpstream              // the upstream answered nonsense, too late, or broke off
	CauseNetwork               // the upstream could not be reached
)

var causeNames = [...]string{"gateway", "client", "upstream", "network"}

// String is the value of the metric label and the log field.
func (c Cause) String() string { return causeNames[c] }

// Error is a failure that the client is told of. Build it where the failure is
// understood, return it, and let Fail write it.
type Error struct {
	Status     int           // HTTP status, 4xx or 5xx; 499 for a client that left
	Reason     string        // bounded, snake_case: a metric label and the log field "reason"
	Msg        string        // for the client; holds no address, path or name of the inside
	Cause      Cause         // who caused it
	Err        error         // for the log only; may be nil
	RetryAfter time.Duration // > 0 becomes Retry-After
	Close      bool          // close the HTTP/1 connection after the answer; with 421 an HTTP/2 one, too
	Allow      string        // for 405: the value of Allow
	GRPC       int           // status of gRPC calls; 0 is the one that Status maps to
	Challenge  string        // for 401 and 403: the value of WWW-Authenticate
	Violations []Violation   // what is wrong one by one; nil when Msg says it all
	Bridge     bool          // a cache in front gives what it has stored instead, however stale
}

// Violation is one of several things that are wrong with a request.
type Violation struct {
	In      string `json:"in"`                // "body", "path", "query", "header" or "cookie"
	Name    string `json:"name,omitempty"`    // of the parameter; "" in a body
	Pointer string `json:"pointer,omitempty"` // RFC 6901, as a URI fragment; "" is all of a parameter
	Detail  string `json:"detail"`
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s: %s", e.Reason, e.Msg)
	}
	return fmt.Sprintf("%s: %s: %v", e.Reason, e.Msg, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// BadRequest is a 400 that closes the connection: what a strict edge answers to
// a request that two readers could understand in two ways.
func BadRequest(reason, msg string) *Error {
	return &Error{Status: http.StatusBadRequest, Reason: reason, Msg: msg, Cause: CauseClient, Close: true}
}

// AsError finds the *Error in err's chain; anything else becomes a 500 whose
// text stays inside.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Status: http.StatusInternalServerError, Reason: "internal", Msg: "internal error", Err: err}
}
