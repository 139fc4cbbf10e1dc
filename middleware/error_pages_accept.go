package middleware

import "strings"

// preference is how welcome a media type is to a client.
type preference struct {
	quality int // in thousandths; 0 is not at all
	exact   int // how exactly the client has named it
}

// over says whether p is preferred to other. Of equals the first one stays.
func (p preference) over(other preference) bool {
	return p.quality > other.quality || p.quality == other.quality && p.quality > 0 && p.exact > other.exact
}

// How exactly a range of Accept names a media type.
const (
	anyType   = iota + 1 // */*
	anySub               // text/*
	withParam            // text/html;level=1, which is not quite text/html
	named                // text/html
)

// preferenceFor reads what the lines of Accept say of a media type (RFC 9110,
// 12.5.1). The range that names it most exactly decides. Without a line, or with
// empty ones, everything is welcome. Ranges that are malformed say nothing.
func preferenceFor(accept []string, typ, sub string) preference {
	var best preference
	empty := true
	for _, line := range accept {
		for line != "" {
			var element string
			element, line = cutOutsideQuotes(line, ',')
			if element = strings.Trim(element, " \t"); element == "" {
				continue
			}
			empty = false
			if p, ok := readRange(element, typ, sub); ok && (p.exact > best.exact || p.exact == best.exact && p.quality > best.quality) {
				best = p
			}
		}
	}
	if empty {
		return preference{quality: 1000, exact: anyType}
	}
	return best
}

// readRange reads one range; it is false for one that is not about the type.
func readRange(element, typ, sub string) (p preference, ok bool) {
	name, params := cutOutsideQuotes(element, ';')
	rangeType, rangeSub, _ := strings.Cut(strings.TrimRight(name, " \t"), "/")
	switch {
	case strings.EqualFold(rangeType, typ) && strings.EqualFold(rangeSub, sub):
		p.exact = named
	case strings.EqualFold(rangeType, typ) && rangeSub == "*":
		p.exact = anySub
	case rangeType == "*" && rangeSub == "*":
		p.exact = anyType
	default:
		return p, false
	}
	p.quality = 1000
	for params != "" {
		var param string
		param, params = cutOutsideQuotes(params, ';')
		key, value, _ := strings.Cut(strings.Trim(param, " \t"), "=")
		switch {
		case strings.EqualFold(key, "q"):
			p.quality, ok = readQuality(value)
			return p, ok // what follows are no parameters of the type
		case key != "" && !strings.EqualFold(key, "charset") && p.exact == named:
			p.exact = withParam
		}
	}
	return p, true
}

// readQuality reads a weight, 0 to 1 with up to three decimals, in thousandths.
func readQuality(s string) (thousandths int, ok bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 {
		return 0, false
	}
	thousandths = int(whole[0] - '0')
	for i := range 3 {
		digit := byte('0')
		if i < len(decimals) {
			digit = decimals[i]
		}
		if digit < '0' || digit > '9' {
			return 0, false
		}
		thousandths = thousandths*10 + int(digit-'0')
	}
	return thousandths, thousandths <= 1000
}

// cutOutsideQuotes cuts s at the first separator that is in no quoted string.
func cutOutsideQuotes(s string, separator byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == separator:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
