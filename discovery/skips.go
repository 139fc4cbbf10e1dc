package discovery

import (
	"fmt"
	"log/slog"
)

// skips are instances that cannot be used, or instances left out. They are
// compared between answers, so that each state is logged once.
type skips struct {
	count   int
	id, why string // of the first one
	cut     int    // instances beyond limit
	limit   int
}

func (s *skips) add(id, why string) {
	if s.count == 0 {
		s.id, s.why = id, why
	}
	s.count++
}

// tell tells the metric, and writes one line if there is something else to say
// than last time.
func (s skips) tell(log *slog.Logger, env Env, before skips) {
	if env.Skipped != nil {
		env.Skipped(s.count + s.cut)
	}
	if s == before {
		return
	}
	if s.count > 0 {
		log.Warn("instances skipped, their addresses cannot be used",
			"count", s.count, "first", fmt.Sprintf("%.128s", s.id), "reason", s.why)
	}
	if s.cut > 0 {
		log.Warn("too many instances, some are left out", "limit", s.limit, "left_out", s.cut)
	}
}
