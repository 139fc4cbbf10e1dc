// Package store connects to a Redis or Valkey that several gateways share, and finds out
// whether it is worth asking. Nobody waits for it longer than its timeout, and a server
// that is away costs nothing: a breaker keeps questions from it until it is found back.
//
// [Redis.Once] lets all gateways use a name once. A [Journal] tells each of them what
// the others have to tell, so that requests are answered from memory.
package store
