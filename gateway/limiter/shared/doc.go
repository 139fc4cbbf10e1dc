// Package shared counts requests against limits that several gateways keep
// together, in Redis or Valkey.
//
// A caller's bucket is one hash in Redis: when it was last written, by the clock of Redis,
// and for each limit how long it will then take to be full again. A script takes
// from all limits or from none, in one round trip. Those who ask about one caller while an
// answer is on its way are asked about together, with the next question.
//
// With leases, a question asks for more than is needed at once, and what is over lets
// the next requests pass without one. Tokens are taken before they are used, so gateways
// together never admit more than the bucket gives.
//
// While Redis is away, each gateway keeps its share of the limits in a table of its
// own. Who has passed there is told to Redis when it is back.
package shared
