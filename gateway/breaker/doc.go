// Package breaker stops sending attempts to a service that fails, and begins
// again with care.
//
// # States
//
// Each [Breaker] is a state machine of github.com/sony/gobreaker: closed lets
// attempts through, open none, half-open a few probes, of which all must succeed
// to close it and one failure opens it again. What is added to it:
//
//   - Counting. gobreaker takes one mutex twice for each request, for all requests.
//     Nearly all of them come while the circuit is closed, and there the machine
//     has nothing to decide but whether to trip. So a closed circuit is one atomic
//     load and, at the end of an attempt, one addition to a [window] in shards; only
//     when a failure brings the numbers over a threshold is the machine told of one,
//     which trips it. While it is open, a moment in an atomic pointer says until when.
//     The machine is asked again for everything that changes the state.
//   - Slow answers, which gobreaker does not know.
//   - The end of probes. A half-open gobreaker waits for its probes for as long as
//     they take: a service that takes requests and never answers would keep it dark.
//     A probe that has not ended in time has failed.
//   - Growing terms. A gobreaker has one term for being open; here each opening has
//     a machine of its own, whose term is twice that of the one before.
//   - Recovery. After the probes, the share of attempts that pass grows evenly.
//   - An operator's word, which comes before the machine's.
//
// No timer runs: what time changes is noticed by the next attempt, or by
// whoever looks. All times are monotonic, so a change of the system's clock opens
// and closes nothing.
package breaker
