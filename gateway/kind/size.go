package kind

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as `64KiB`, `10MiB`, `1GiB`, `500B` or a
// plain number. Decimal units are refused because half of all readers would
// take 10MB for the other thing.
type Size int64

// The units that configuration files may use.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

var sizeUnits = []struct {
	suffix string
	bytes  Size
}{{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"B", 1}, {"", 1}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > int64(1<<62)/int64(unit.bytes) {
			break
		}
		*s = Size(n) * unit.bytes
		return nil
	}
	return fmt.Errorf("%q is no size; write for example 64KiB or 10MiB", text)
}

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	for _, unit := range []int{2, 1, 0} {
		if u := sizeUnits[unit]; s != 0 && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
