package gateway

import "time"

// Phase is a part of the time of a request. The phases of a request follow on
// each other without a gap and do not overlap, so they sum to its time.
type Phase uint8

// The phases, in the order in which they begin.
const (
	PhaseReceiveQueue    Phase = iota // the request lay unread in the kernel
	PhaseClientSend                   // the client was still sending, and nobody could go on
	PhaseGateway                      // everything that is none of the others
	PhaseUpstreamWait                 // for an endpoint with room
	PhaseEarlierAttempts              // all attempts but the last, and the pauses between them
	PhaseConnect                      // opening a connection, TLS included
	PhaseUpstreamNetwork              // a round trip to the endpoint, and what retransmits took
	PhaseUpstreamService              // the endpoint, from the request to the head of its answer
	PhaseUpstreamQueue                // the answer lay unread in the kernel
	PhaseUpstreamBody                 // for the rest of the answer
	PhaseClientDrain                  // the client took its answer slowly
	Phases                            // how many there are
)

var phaseNames = [Phases]string{
	"receive_queue", "client_send", "gateway", "upstream_wait", "earlier_attempts", "connect",
	"upstream_network", "upstream_service", "upstream_queue", "upstream_body", "client_drain",
}

// String is the name of the phase in metrics and logs.
func (p Phase) String() string { return phaseNames[p] }

// Measurer says who has measured a phase.
type Measurer uint8

// Who can have measured a phase.
const (
	ByNobody  Measurer = iota // the phase is not known, or there was none
	ByUser                    // the gateway, with the clocks of its own process
	ByTCPInfo                 // the kernel, in what it tells of any connection; times in steps of its tick
	ByProbe                   // pithead-probe
)

var measurerNames = [...]string{"", "user", "tcp_info", "probe"}

// String is the name of the measurer in logs.
func (m Measurer) String() string { return measurerNames[m] }

// Span is a phase of one request.
type Span struct {
	Took time.Duration
	By   Measurer
}

// Verdict is who made a request slow, or fail.
type Verdict uint8

// The verdicts.
const (
	VerdictNone            Verdict = iota // nobody was asked, or nothing was wrong
	VerdictClientNetwork                  // the client, or the way to it
	VerdictKernelQueue                    // bytes lay unread: this process did not get to run
	VerdictGateway                        // the gateway itself
	VerdictUpstreamNetwork                // the way to the endpoint
	VerdictUpstream                       // the endpoint
	Verdicts                              // how many there are
)

var verdictNames = [Verdicts]string{"", "client_network", "kernel_queue", "gateway", "upstream_network", "upstream"}

// String is the name of the verdict in metrics and logs.
func (v Verdict) String() string { return verdictNames[v] }

// ServerTiming says which clients are told the phases of their requests.
type ServerTiming uint8

// Who is told.
const (
	ServerTimingOff ServerTiming = iota
	ServerTimingTrusted
	ServerTimingAll
)

// Watch says which requests of a route are looked at closely.
type Watch struct {
	Sample       uint64        // of 2^32 requests
	Slow         time.Duration // from when on a request gets a verdict; 0 is never
	ServerTiming ServerTiming
}

// Anatomy is where the time of a request went. Server and upstream note what they
// see on the way; Spans and Verdict are there when the exchange has ended, if it
// was sampled, slow or failed.
type Anatomy struct {
	Watch   *Watch // nil watches nothing
	Sampled bool

	Spans [Phases]Span
	Known bool // Spans say something
	// Followed says that the drain of the client is known only later.
	Followed bool
	Verdict  Verdict
	Accept   time.Duration // from the handshake of the connection to its acceptance; 0 when not known

	Room      time.Duration // waited for an endpoint with room
	Attempt   time.Time     // when the last attempt began
	Opening   bool          // it has no connection yet
	Connected time.Time     // when it had a connection that was opened for it; zero for one that was there
	Upstream  UpstreamSocket
}

// UpstreamSocket is what the kernel knew of the connection of the last attempt when
// the head of the answer had been read.
type UpstreamSocket struct {
	By        Measurer      // of Queue and Kernel; ByNobody when nobody could be asked
	RoundTrip time.Duration // the shortest of the last minutes; 0 when not known
	Lost      time.Duration // until the request was sent for the last time
	Queue     time.Duration // the answer lay unread
	Kernel    time.Duration // from the first byte of the request to the first one of the answer; 0 when not known
}

// Slow says whether d is long enough for a verdict.
func (a *Anatomy) Slow(d time.Duration) bool {
	return a.Watch != nil && a.Watch.Slow > 0 && d >= a.Watch.Slow
}

// Told says whether the client of x may see where the time went.
func (x *Exchange) Told() bool {
	if x.Anatomy.Watch == nil {
		return false
	}
	t := x.Anatomy.Watch.ServerTiming
	return t == ServerTimingAll || t == ServerTimingTrusted && x.Trusted
}

// Begin notes that another attempt begins.
func (a *Anatomy) Begin(now time.Time) {
	a.Attempt, a.Connected, a.Opening, a.Upstream = now, time.Time{}, false, UpstreamSocket{}
}

// Follow takes over what an attempt beside others has noted.
func (a *Anatomy) Follow(leg *Anatomy) {
	a.Attempt, a.Connected, a.Opening, a.Upstream = leg.Attempt, leg.Connected, leg.Opening, leg.Upstream
}
