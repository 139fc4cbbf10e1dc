package upstream

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway"
)

// refusal is why no attempt at a request was admitted by its circuit.
type refusal struct{ err *gateway.Error }

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

func isRefusal(err error) bool {
	_, ok := err.(refusal) //nolint:errorlint // it is never wrapped, and this is asked for every request
	return ok
}

// barred says why no endpoint can have the request; nil is that one may. It comes
// before the queue: nobody should wait for what will be refused.
func (c *Cluster) barred(x *gateway.Exchange) error {
	if x.Circuit == nil || x.Circuit.PerEndpoint() || x.Circuit.Passes(x, c.opts.Name, nil) {
		return nil
	}
	return c.refused(x)
}

func (c *Cluster) refused(x *gateway.Exchange) error {
	return refusal{x.Circuit.Refused(x, c.opts.Name)}
}

// passes says whether the circuit lets an attempt at ep through.
func (c *Cluster) passes(x *gateway.Exchange, ep *gateway.Endpoint) bool {
	return x.Circuit == nil || !x.Circuit.PerEndpoint() || x.Circuit.Passes(x, c.opts.Name, ep)
}

// aside chooses an endpoint in place of one that does not pass.
func (c *Cluster) aside(x *gateway.Exchange, g *group, not *gateway.Endpoint) (*gateway.Endpoint, error) {
	for i, from := 0, rand.IntN(len(g.healthy)+1); i < len(g.healthy); i++ {
		if ep := g.healthy[(from+i)%len(g.healthy)]; ep != not && c.passes(x, ep) {
			return ep, nil
		}
	}
	return nil, c.refused(x)
}

// admit asks the circuit about an attempt for which a place is taken, and gives
// the place back if there is to be none.
func (c *Cluster) admit(x *gateway.Exchange, ep *gateway.Endpoint) (gateway.Admission, error) {
	if x.Circuit == nil {
		return gateway.Admission{}, nil
	}
	a, ok := x.Circuit.Admit(x, c.opts.Name, ep)
	if ok {
		return a, nil
	}
	c.free(ep)
	return a, c.refused(x)
}

// instead carries out a request that no endpoint here may have, if its circuit
// knows how. Nothing of it has been sent; req has its body as it came.
func (c *Cluster) instead(x *gateway.Exchange, req *http.Request, err error) (resp *http.Response, _ error, ok bool) {
	if !isRefusal(err) {
		return nil, nil, false
	}
	other := x.Circuit.Instead(x)
	if other == nil {
		return nil, nil, false
	}
	resp, err = other.RoundTrip(req)
	return resp, err, true
}

// judged is what an attempt knows for the circuit that has admitted it.
type judged struct {
	admission gateway.Admission
	circuit   gateway.Circuit
	waited    time.Duration  // for the head of the answer
	bad       bool           // the status is that of a failure
	whole     bool           // the answer has come to its end
	grpc      *http.Response // the answer to a gRPC call
	deadline  bool           // which its caller has set
}

func (j *judged) by(a gateway.Admission, c gateway.Circuit) { j.admission, j.circuit = a, c }

// observeCircuit takes down what the head of an answer says of the service.
func (a *attempt) observeCircuit(req *http.Request, resp *http.Response, stream bool) {
	j := &a.judged
	if j.admission.Of == nil {
		return
	}
	j.waited, _ = a.watch.waited(time.Now())
	if gateway.IsGRPC(req) && resp.StatusCode == http.StatusOK {
		j.grpc, j.deadline = resp, req.Header.Get("Grpc-Timeout") != ""
	} else {
		j.bad = j.circuit.FailedStatus(resp.StatusCode)
	}
	j.admission.Answered(stream)
}

// verdict tells the circuit how the attempt has ended.
func (a *attempt) verdict(e *gateway.Error) {
	if a.judged.admission.Of != nil {
		a.judged.admission.Ended(a.outcome(e), a.judged.waited)
	}
}

// outcome says nothing of the service when the client or this process has ended
// the attempt. A status counts even if its client does not wait for the rest.
func (a *attempt) outcome(e *gateway.Error) gateway.Outcome {
	j := &a.judged
	switch {
	case a.send.failed.Load():
		return gateway.OutcomeNone
	case j.bad:
		return gateway.OutcomeBad
	case a.x.ClientError() != nil, e != nil && e.Cause != gateway.CauseUpstream && e.Cause != gateway.CauseNetwork:
		return gateway.OutcomeNone
	case e != nil:
		return gateway.OutcomeBad
	case !j.whole:
		return gateway.OutcomeNone // whoever was to read it has had enough
	case j.grpc != nil && j.circuit.FailedGRPC(grpcStatusOf(j.grpc), time.Since(a.watch.start), j.deadline):
		return gateway.OutcomeBad
	}
	return gateway.OutcomeGood
}

// grpcUnknown is the status of a call that has ended without one.
const grpcUnknown = 2

// grpcStatusOf is the status of a gRPC call: in the trailers, or in the head of
// an answer that is nothing but a status.
func grpcStatusOf(resp *http.Response) int {
	text := resp.Trailer.Get("Grpc-Status")
	if text == "" {
		text = resp.Header.Get("Grpc-Status")
	}
	code, err := strconv.Atoi(text)
	if err != nil {
		return grpcUnknown
	}
	return code
}
