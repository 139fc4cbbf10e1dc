// Package limiter counts requests against rates, for up to a fixed number of
// keys at the same time.
//
// A bucket is one word for each limit: the time at which it will be full again
// (the theoretical arrival time of GCRA, ITU-T I.371). It takes tokens by
// comparing and swapping that word, so no decision waits for another one, and a key
// costs 16 bytes. golang.org/x/time/rate decides the same, which the tests hold it to;
// its Limiter has a mutex that all requests of a key go through, and it needs a
// map around it that bounds, evicts and locks. That is why it is not used here.
//
// The table never grows. Each key has a choice of two groups of seven slots. A key
// that finds no slot takes over the one with the fullest bucket, and the bucket as it is:
// replacing keys makes no tokens. If all of them are more than half used, it shares
// the eighth bucket of its group with others like it, so that a flood of keys
// cannot push out those that are being limited.
package limiter
