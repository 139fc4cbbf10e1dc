// Package overload watches what the process itself uses of memory and processors,
// and says what is to be given up so that it goes on: connections that rest, then
// requests, then new connections.
package overload
