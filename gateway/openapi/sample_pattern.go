package openapi

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// sampleOf makes a text that an expression matches, of at least so many characters
// where its repetitions allow that.
func sampleOf(pattern string, least int) string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return ""
	}
	re = re.Simplify()
	for extra := range min(least, sampleText) + 1 {
		var b strings.Builder
		writeSample(&b, re, extra)
		if text := b.String(); utf8.RuneCountInString(text) >= least || extra == min(least, sampleText) {
			return text
		}
	}
	return ""
}

// writeSample writes the shortest match, with extra repetitions of what may be
// repeated without an end.
func writeSample(b *strings.Builder, re *syntax.Regexp, extra int) {
	if b.Len() > sampleText {
		return
	}
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		b.WriteRune(runeOf(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('a')
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			writeSample(b, sub, extra)
		}
	case syntax.OpAlternate:
		writeSample(b, re.Sub[0], extra)
	case syntax.OpStar, syntax.OpQuest, syntax.OpPlus:
		n := extra
		switch re.Op {
		case syntax.OpPlus:
			n++
		case syntax.OpQuest:
			n = min(n, 1)
		}
		for range n {
			writeSample(b, re.Sub[0], 0)
		}
	case syntax.OpRepeat: // Simplify leaves none; a parser that does is followed
		for range re.Min {
			writeSample(b, re.Sub[0], extra)
		}
	}
}

// runeOf is a rune of a class that people can read, if there is one.
func runeOf(ranges []rune) rune {
	for _, want := range "a0A" {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= want && want <= ranges[i+1] {
				return want
			}
		}
	}
	for i := 0; i+1 < len(ranges); i += 2 {
		if r := max(ranges[i], '!'); r <= ranges[i+1] {
			return r
		}
	}
	if len(ranges) == 0 {
		return utf8.RuneError
	}
	return ranges[0]
}
