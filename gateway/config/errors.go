package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pos is a place in a configuration file. Lines and columns count from 1;
// columns count characters.
type Pos struct {
	File         string
	Line, Column int
}

// String writes the place as compilers do, so that editors can jump to it.
func (p Pos) String() string {
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// Error is one mistake in a configuration.
type Error struct {
	Pos
	Msg    string
	Source string // the line at Line, cut when it is very long; secrets are masked
	Err    error  // what lies beneath, if anything

	caret  int // characters of Source before the column
	source *sourceFile
	file   int // place of the file in reading order
}

// Error is the place and the message, then the source line and a caret below
// the column.
func (e *Error) Error() string {
	head := fmt.Sprintf("%v: %s", e.Pos, e.Msg)
	if strings.TrimSpace(e.Source) == "" {
		return head
	}
	var indent strings.Builder
	left := e.caret
	for _, r := range e.Source {
		if left == 0 {
			break
		}
		left--
		if r != '\t' { // a tab under a tab keeps the caret in its column
			r = ' '
		}
		indent.WriteRune(r)
	}
	return head + "\n" + e.Source + "\n" + indent.String() + "^"
}

func (e *Error) Unwrap() error { return e.Err }

// Errors are all mistakes of a configuration, in the order of the files and then
// of their places.
type Errors []*Error

func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap lets errors.Is and errors.As look into each of them.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// clone copies the errors of a file that several configurations share.
func (e Errors) clone() Errors {
	all := make(Errors, len(e))
	for i, one := range e {
		own := *one
		all[i] = &own
	}
	return all
}

// sorted orders the errors and drops those that an alias made say the same twice.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(e, func(a, b *Error) bool { return a.Pos == b.Pos && a.Msg == b.Msg })
}

// asError keeps a nil list from becoming a non-nil error.
func (e Errors) asError() error {
	if len(e) == 0 {
		return nil
	}
	return e.sorted()
}

const longLine = 160

// excerpt cuts a long line around a column. caret is the number of characters
// before the column in what is left.
func excerpt(line string, column int) (text string, caret int) {
	caret = max(column-1, 0)
	if len(line) <= longLine {
		return printable(line), caret
	}
	from := max(caret-longLine/2, 0)
	start := skipRunes(line, from)
	text = line[start:]
	end := skipRunes(text, longLine)
	cut := end < len(text)
	text = printable(text[:end])
	if cut {
		text += "…"
	}
	if caret -= from; from > 0 {
		text, caret = "…"+text, caret+1
	}
	return text, caret
}

// skipRunes is the length in bytes of the first n characters of s.
func skipRunes(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// Suggest returns ` (did you mean "x"?)` for the nearest of from, or "" when
// none is near.
func Suggest(name string, from []string) string {
	if best := nearest(name, from); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}

func nearest(name string, from []string) string {
	best, least := "", 1+min(3, (len(name)+1)/3)
	if len(name) > 100 {
		return ""
	}
	for _, candidate := range slices.Sorted(slices.Values(from)) {
		if d := distance(fold(name), fold(candidate)); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// fold makes the spellings equal that people mix up without noticing.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that make a into b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			price := 1
			if a[i] == b[j] {
				price = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+price)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
