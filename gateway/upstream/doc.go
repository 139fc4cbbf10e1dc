// Package upstream is what lies below the proxy core: where the endpoints of a
// service come from, which of them are well, and how one attempt is made.
//
//	feed := upstream.NewFeed("orders", source, log)   // lives in keep, shared by generations
//	stats := upstream.NewStatsStore()                 // lives in keep too
//	c := upstream.New(upstream.Options{Name: "orders", Feed: feed, Stats: stats, Policy: policy})
//	c.Start()                                         // discovery and health checks run from here on
//	defer c.Close()
//	<-c.Filled()                                      // the first set is in use
//	resp, err := c.RoundTrip(req)                     // err is a *gateway.Error
//
// A change of the endpoints, and an endpoint that turns well or unwell, swaps
// one pointer to an immutable set. No route knows of it.
package upstream
