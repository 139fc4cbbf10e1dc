package server

import "sync/atomic"

// maxResets is how many requests a client may take back on one HTTP/2 connection
// before most of them have to be serious.
const maxResets = 500

// resets counts requests that their client took back before there was an answer.
// net/http bounds how many run at a time; each of them can still cost an upstream a
// connection (rapid reset, CVE-2023-44487).
type resets struct{ streams, taken atomic.Uint32 }

// excessive counts one, and says whether it is nothing else that the client does.
func (r *resets) excessive() bool {
	taken := r.taken.Add(1)
	return taken >= maxResets && taken > r.streams.Load()/2
}
