package discovery

import (
	"log/slog"
	"time"
)

// grace keeps a set in use for a while after all its instances have vanished
// from a registry without having been seen to fail: then the registry is
// likelier to be wrong than the service to be gone.
type grace struct {
	length time.Duration
	log    *slog.Logger
	size   int       // of the set in use
	until  time.Time // when the vanished set in use ends; zero if it is not vanished
}

// holds takes note of a new set of size targets and says whether the one in use
// stays nevertheless.
func (g *grace) holds(size int, vanished bool) bool {
	if vanished && g.size > 0 {
		now := time.Now()
		if g.until.IsZero() {
			g.until = now.Add(g.length)
			g.log.Warn("no instance is left, the last ones stay in use for a while", "grace", g.length)
		}
		if now.Before(g.until) {
			return true
		}
	}
	g.until, g.size = time.Time{}, size
	return false
}

// shorten makes wait end with the grace, if there is one.
func (g *grace) shorten(wait time.Duration) time.Duration {
	if g.until.IsZero() {
		return wait
	}
	return min(max(time.Until(g.until), time.Second), wait)
}
