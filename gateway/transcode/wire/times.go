package wire

import (
	"strconv"
	"time"
)

// The seconds that the first and the last Timestamp have, and the longest Duration.
const (
	minTimestamp = -62135596800
	maxTimestamp = 253402300799
	maxDuration  = 315576000000
	maxNanos     = 999999999
)

// parseTimestamp reads a date and time as RFC 3339 writes it, with Z or an
// offset, and up to nine digits of a fraction. There are no leap seconds.
func parseTimestamp(b []byte) (secs int64, nanos int32, ok bool) {
	const layout = "0000-00-00T00:00:00"
	if len(b) <= len(layout) {
		return 0, 0, false
	}
	for i := range len(layout) {
		if layout[i] == '0' && (b[i] < '0' || b[i] > '9') || layout[i] != '0' && b[i] != layout[i] {
			return 0, 0, false
		}
	}
	year, month, day := two(b)*100+two(b[2:]), two(b[5:]), two(b[8:])
	hour, minute, second := two(b[11:]), two(b[14:]), two(b[17:])
	if month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59 {
		return 0, 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day || day == 0 {
		return 0, 0, false
	}
	b = b[len(layout):]
	if b[0] == '.' {
		n := digits(b[1:])
		if nanos, ok = fraction(b[1 : 1+n]); !ok || n == 0 {
			return 0, 0, false
		}
		b = b[1+n:]
	}
	offset, ok := zone(b)
	secs = t.Unix() - offset
	return secs, nanos, ok && secs >= minTimestamp && secs <= maxTimestamp
}

// two is the value of two digits.
func two(b []byte) int {
	return int(b[0]-'0')*10 + int(b[1]-'0')
}

// zone is the offset from UTC in seconds.
func zone(b []byte) (int64, bool) {
	if string(b) == "Z" {
		return 0, true
	}
	if len(b) != len("+00:00") || b[3] != ':' || digits(b[1:3]) != 2 || digits(b[4:]) != 2 || two(b[1:]) > 23 || two(b[4:]) > 59 {
		return 0, false
	}
	offset := int64(two(b[1:])*3600 + two(b[4:])*60)
	if b[0] == '-' {
		return -offset, true
	}
	return offset, b[0] == '+'
}

// fraction is the nanoseconds that up to nine digits behind the point stand for.
func fraction(b []byte) (nanos int32, ok bool) {
	if len(b) > 9 {
		return 0, false
	}
	for i := range 9 {
		nanos *= 10
		if i < len(b) {
			nanos += int32(b[i] - '0')
		}
	}
	return nanos, true
}

// parseDuration reads seconds with up to nine digits of a fraction and an "s".
// Either side of the point may be empty, but not both.
func parseDuration(b []byte) (secs int64, nanos int32, ok bool) {
	if len(b) < 2 || b[len(b)-1] != 's' {
		return 0, 0, false
	}
	b = b[:len(b)-1]
	neg := b[0] == '-'
	if neg || b[0] == '+' {
		b = b[1:]
	}
	n := digits(b)
	if n > 12 || n > 1 && b[0] == '0' {
		return 0, 0, false
	}
	for _, c := range b[:n] {
		secs = secs*10 + int64(c-'0')
	}
	seen := n
	if b = b[n:]; len(b) > 0 {
		frac := b[1:]
		if b[0] != '.' || digits(frac) != len(frac) {
			return 0, 0, false
		}
		if nanos, ok = fraction(frac); !ok {
			return 0, 0, false
		}
		seen += len(frac)
	}
	if neg {
		secs, nanos = -secs, -nanos
	}
	return secs, nanos, seen > 0 && secs >= -maxDuration && secs <= maxDuration
}

// appendTimestamp prints a Timestamp in UTC with 0, 3, 6 or 9 digits of a fraction.
func appendTimestamp(dst []byte, secs int64, nanos int32) ([]byte, string) {
	if secs < minTimestamp || secs > maxTimestamp || nanos < 0 || nanos > maxNanos {
		return dst, "a Timestamp out of range"
	}
	t := time.Unix(secs, 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendTwo(append(dst, '"'), year/100)
	dst = appendTwo(dst, year%100)
	dst = appendTwo(append(dst, '-'), int(month))
	dst = appendTwo(append(dst, '-'), day)
	dst = appendTwo(append(dst, 'T'), hour)
	dst = appendTwo(append(dst, ':'), minute)
	dst = appendTwo(append(dst, ':'), second)
	return append(appendFraction(dst, nanos), 'Z', '"'), ""
}

// appendDuration prints a Duration.
func appendDuration(dst []byte, secs int64, nanos int32) ([]byte, string) {
	if secs < -maxDuration || secs > maxDuration || nanos < -maxNanos || nanos > maxNanos {
		return dst, "a Duration out of range"
	}
	if secs > 0 && nanos < 0 || secs < 0 && nanos > 0 {
		return dst, "a Duration whose parts have different signs"
	}
	dst = append(dst, '"')
	if secs < 0 || nanos < 0 {
		dst = append(dst, '-')
		secs, nanos = -secs, -nanos
	}
	dst = strconv.AppendInt(dst, secs, 10)
	return append(appendFraction(dst, nanos), 's', '"'), ""
}

func appendTwo(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

func appendFraction(dst []byte, nanos int32) []byte {
	if nanos == 0 {
		return dst
	}
	n := 9
	for n > 3 && nanos%1000 == 0 {
		nanos /= 1000
		n -= 3
	}
	dst = append(dst, ".000000000"[:n+1]...)
	for i := range n {
		dst[len(dst)-1-i] = byte('0' + nanos%10)
		nanos /= 10
	}
	return dst
}
