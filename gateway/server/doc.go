// Package server is the room with the sockets: listeners and their limits, the
// current configuration and its replacement, and the order of the end.
//
//	s := server.New(server.Options{Path: "pithead.yaml", Metrics: m, Log: log, ...})
//	err := s.Run(ctx) // serves until ctx ends, then drains; nil is a clean end
//
// A request is served by exactly one generation of the configuration, the one
// that was current when its head had been read. Every reload takes the same
// path, whatever asked for it, and either replaces the generation as a whole or
// leaves everything as it was.
//
// Three layers lie between an address and a handler, so that each can change
// without the others: a socket is a bound address and lives as long as any
// generation wants it; a front serves it with the settings of one
// listener, by gateway/http1 and for HTTP/2 by net/http, and takes the socket over from its predecessor without closing it; a
// conn knows whether a request of its client has been read, which is what makes
// an end without losses possible. A conn that rests is parked: it leaves the engine
// and waits in the lot of its front, without a goroutine and without buffers.
package server
