package middleware

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	minErrorStatus = 400
	maxErrorStatus = 599
)

// StatusRange are error statuses in a row.
type StatusRange struct{ From, To int }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *StatusRange) UnmarshalText(text []byte) error {
	from, to, isRange := strings.Cut(string(text), "-")
	if class, ok := strings.CutSuffix(from, "xx"); ok && !isRange {
		from, to = class+"00", class+"99"
	} else if !isRange {
		to = from
	}
	low, errLow := strconv.ParseUint(from, 10, 10)
	high, errHigh := strconv.ParseUint(to, 10, 10)
	if errLow != nil || errHigh != nil || len(from) != 3 || len(to) != 3 || low < minErrorStatus || high > maxErrorStatus || low > high {
		return fmt.Errorf("%q is no error status; write for example 503, 502-504 or 5xx", text)
	}
	*s = StatusRange{int(low), int(high)}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s StatusRange) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s StatusRange) String() string {
	if s.From == s.To {
		return strconv.Itoa(s.From)
	}
	return fmt.Sprintf("%d-%d", s.From, s.To)
}
