package anatomy

import (
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway"
)

// ServerTiming is the value of the field Server-Timing for the settled phases of x,
// in milliseconds: only those that are known and took time.
func ServerTiming(x *gateway.Exchange) string {
	var room [256]byte
	b := room[:0]
	for p, span := range x.Anatomy.Spans {
		if span.By == gateway.ByNobody || span.Took < time.Microsecond {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, gateway.Phase(p).String()...)
		b = append(b, ";dur="...)
		b = strconv.AppendFloat(b, float64(span.Took.Microseconds())/1000, 'f', -1, 64)
	}
	if len(b) == 0 {
		b = append(b, "gateway;dur=0"...)
	}
	return string(b)
}
