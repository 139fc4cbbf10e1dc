// Package obs is what Pithead tells of itself: metrics for Prometheus and the
// access log.
//
// A process has one Metrics. The snapshot keeps a Route handle for each of its
// routes, so that the hot path looks nothing up by name:
//
//	m := obs.NewMetrics(obs.Build{Version: "1.0.0"})
//	route := m.Route("orders") // once, when the snapshot is built
//
//	route.Begin()
//	...
//	route.End(x, r.Method, time.Now())
//
// After every reload, refused ones included, Retain is told which names are in
// use, and whatever else was counted is forgotten.
//
// # Where the time went
//
// A request's time is cut in two without a gap: the upstream's part begins with
// the first attempt and ends with the last byte of the answer, or with the
// failure of the last attempt; the gateway's own part is all the rest. Both
// histograms therefore always add up to the whole. How long an upstream took
// to begin its answer is in the access log as ttfb_ms.
//
// # Labels
//
// Every label value comes from the configuration or from a list in this code.
// The method is one of nine or "other", the code is a status between 100 and
// 599 or "other", and requests that no route matched are route "none".
package obs
