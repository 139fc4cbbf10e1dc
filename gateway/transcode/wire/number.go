package wire

import "math"

// number reads a number as RFC 8259 writes it.
func (s *scanner) number() ([]byte, *Error) {
	s.peek()
	n := numberLen(s.in[s.pos:])
	if n == 0 {
		return nil, s.unexpected("a value")
	}
	raw := s.in[s.pos : s.pos+n]
	s.pos += n
	return raw, nil
}

// numberLen is the length of the number at the start of b, 0 if there is none.
func numberLen(b []byte) int {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch n := digits(b[i:]); {
	case n == 0:
		return 0
	case b[i] == '0':
		i++
	default:
		i += n
	}
	if i < len(b) && b[i] == '.' {
		n := digits(b[i+1:])
		if n == 0 {
			return 0
		}
		i += 1 + n
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		n := digits(b[i:])
		if n == 0 {
			return 0
		}
		i += n
	}
	return i
}

func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}

// isNumber tells whether the whole of b is one number.
func isNumber(b []byte) bool {
	return len(b) > 0 && numberLen(b) == len(b)
}

// signed is the integer that a number stands for, if it is one and fits. "1.0"
// and "1e2" are integers.
func signed(raw []byte, size int) (int64, bool) {
	neg, u, ok := integer(raw)
	limit := uint64(1) << (size - 1)
	switch {
	case !ok:
		return 0, false
	case neg:
		return -int64(u), u <= limit
	default:
		return int64(u), u < limit
	}
}

// unsigned is like signed; "-0" is zero.
func unsigned(raw []byte, size int) (uint64, bool) {
	neg, u, ok := integer(raw)
	return u, ok && (!neg || u == 0) && (size == 64 || u <= math.MaxUint32)
}

// integer takes a number apart into sign and magnitude.
func integer(raw []byte) (neg bool, u uint64, ok bool) {
	if raw[0] == '-' {
		neg, raw = true, raw[1:]
	}
	if len(raw) < 20 {
		for i, c := range raw {
			if c < '0' || c > '9' {
				u, ok = scaled(raw, i)
				return neg, u, ok
			}
			u = u*10 + uint64(c-'0')
		}
		return neg, u, true // 19 digits always fit
	}
	u, ok = scaled(raw, digits(raw))
	return neg, u, ok
}

// scaled is the value of a number whose first n bytes are its integer digits.
// An exponent may move digits across the point in either direction, as far as
// 20 digits, which is what 64 bits can hold.
func scaled(raw []byte, n int) (uint64, bool) {
	whole, rest := raw[:n], raw[n:]
	if whole[0] == '0' {
		whole = nil
	}
	var frac []byte
	if len(rest) > 0 && rest[0] == '.' {
		frac = rest[1:]
		frac = frac[:digits(frac)]
		rest = rest[1+len(frac):]
		for len(frac) > 0 && frac[len(frac)-1] == '0' {
			frac = frac[:len(frac)-1]
		}
	}
	if len(whole) == 0 && len(frac) == 0 {
		return 0, true
	}
	exp := exponent(rest)
	if exp < 0 {
		keep := len(whole) + exp
		if len(frac) > 0 || keep <= 0 {
			return 0, false
		}
		for _, c := range whole[keep:] {
			if c != '0' {
				return 0, false
			}
		}
		return decimal(0, whole[:keep], 0)
	}
	if len(frac) > exp || (exp > 0 && len(whole)+exp > 20) {
		return 0, false
	}
	u, ok := decimal(0, whole, 0)
	if !ok {
		return 0, false
	}
	return decimal(u, frac, exp-len(frac))
}

// maxExponent is more than any integer needs; larger exponents count as it.
const maxExponent = 1 << 30

// exponent is the value of "e+12", 0 for nothing.
func exponent(b []byte) (exp int) {
	if len(b) == 0 {
		return 0
	}
	b = b[1:]
	neg := b[0] == '-'
	if neg || b[0] == '+' {
		b = b[1:]
	}
	for _, c := range b {
		exp = min(exp*10+int(c-'0'), maxExponent)
	}
	if neg {
		return -exp
	}
	return exp
}

// decimal appends digits and zeros to u.
func decimal(u uint64, digits []byte, zeros int) (uint64, bool) {
	for i := range len(digits) + zeros {
		d := uint64(0)
		if i < len(digits) {
			d = uint64(digits[i] - '0')
		}
		if u > (math.MaxUint64-d)/10 {
			return 0, false
		}
		u = u*10 + d
	}
	return u, true
}
