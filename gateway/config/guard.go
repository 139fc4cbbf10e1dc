package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// What a file may be at most. The YAML library has no limits of its own: 20,000
// open brackets cost its parser 630 MB.
const (
	maxFile    = 8 << 20
	maxMarks   = 1 << 19 // brackets, commas, dashes, colons ...: bounds the tokens before there are any
	maxDepth   = 64
	maxKey     = 1024    // YAML 1.2.2 §7.4: the longest implicit key
	maxKeys    = 10_000  // of one block map: the library goes one call deeper for each, and copies all before it
	maxAliased = 1 << 18 // nodes that aliases may stand for, all together
)

// guardBytes refuses what is no text that a person or a program meant as a
// configuration, before the lexer sees it.
func (s *sourceFile) guardBytes() *Error {
	if len(s.data) > maxFile {
		return s.errorAt(place{1, 1}, "the file is larger than %d MiB", maxFile>>20)
	}
	if !utf8.Valid(s.data) {
		rest, line := s.data, 1
		for {
			r, size := utf8.DecodeRune(rest)
			if r == utf8.RuneError && size == 1 {
				return s.errorAt(place{line, 1}, "the file is not valid UTF-8: byte 0x%02x", rest[0])
			}
			if r == '\n' {
				line++
			}
			rest = rest[size:]
		}
	}
	line, column := 1, 1
	for _, r := range s.text() {
		switch {
		case r == '\n':
			line, column = line+1, 0
		case r < ' ' && r != '\t', r == 0x7F, r == '\uFEFF':
			return s.errorAt(place{line, column}, "the file holds the control character U+%04X", r)
		}
		column++
	}
	if strings.TrimSpace(s.text()) == "" {
		return s.errorAt(place{1, 1}, "the file is empty")
	}
	if marks(s.text()) > maxMarks {
		return s.errorAt(place{1, 1}, "the file has more than %d entries; split it with include", maxMarks)
	}
	return nil
}

// marks is at least half the number of tokens that a text has.
func marks(text string) int {
	n := 0
	for i := range len(text) {
		switch text[i] {
		case '[', ']', '{', '}', ',', '&', '*', '!', '|', '>', '\'', '"', '#', '%', '@', '`':
			n++
		case ':', '-', '?':
			if i+1 == len(text) || text[i+1] == ' ' || text[i+1] == '\n' || text[i+1] == '\t' {
				n++
			}
		}
	}
	return n
}

// guardTokens refuses what would cost the parser much, or what configuration
// files have no use for.
func (s *sourceFile) guardTokens(tokens token.Tokens) *Error {
	depth := depthGauge{}
	content, ended := false, false
	for _, tk := range tokens {
		switch tk.Type {
		case token.CommentType:
			continue
		case token.DocumentHeaderType, token.DocumentEndType:
			if tk.Type == token.DocumentHeaderType && (content || ended) {
				return s.errorAt(at(tk), "a second document begins here; a file holds one")
			}
			ended = tk.Type == token.DocumentEndType
			continue
		}
		if ended {
			return s.errorAt(at(tk), "a second document begins here; a file holds one")
		}
		content = true
		if e := s.guardToken(tk); e != nil {
			return e
		}
		if depth.add(tk); depth.now() > maxDepth {
			return s.errorAt(at(tk), "nested deeper than %d levels", maxDepth)
		} else if depth.keys() > maxKeys {
			return s.errorAt(at(tk), "a map has more than %d keys; split it with include", maxKeys)
		}
	}
	if !content {
		return s.errorAt(place{1, 1}, "the file holds nothing but comments")
	}
	return nil
}

func (s *sourceFile) guardToken(tk *token.Token) *Error {
	switch tk.Type {
	case token.InvalidType:
		return s.syntaxError(tk, tk.Error)
	case token.DirectiveType:
		return s.errorAt(at(tk), "YAML directives have no use here")
	case token.TagType:
		return s.errorAt(at(tk), "YAML tags such as %s have no use here", tk.Value)
	case token.MappingKeyType:
		return s.errorAt(at(tk), "a key is written as `name: value`, without a question mark")
	case token.MappingValueType:
		if tk.Prev != nil && len(tk.Prev.Value) > maxKey {
			return s.errorAt(at(tk.Prev), "a key is longer than %d bytes", maxKey)
		}
	case token.AnchorType:
		if next := tk.Next; next != nil && next.Next != nil && next.Next.Type == token.AnchorType {
			return s.errorAt(at(next.Next), "two anchors for one value")
		}
	case token.StringType:
		// The lexer takes {rate: 100/s burst: 200} for one setting with a long value.
		block := tk.Prev != nil && (tk.Prev.Type == token.LiteralType || tk.Prev.Type == token.FoldedType)
		if !block && (strings.Contains(tk.Value, ": ") || strings.HasSuffix(tk.Value, ":")) {
			return s.errorAt(at(tk), "%q holds a colon; is a comma missing, or the quotes around it?", tk.Value)
		}
	}
	return nil
}

// depthGauge follows the nesting of a stream of tokens: open brackets, and the
// columns at which block lists and maps have begun.
type depthGauge struct {
	flow   int
	blocks []blockLevel
}

type blockLevel struct{ column, keys int }

func (d *depthGauge) now() int { return d.flow + len(d.blocks) }

// keys is the number of keys so far of the innermost block map.
func (d *depthGauge) keys() int {
	if len(d.blocks) == 0 {
		return 0
	}
	return d.blocks[len(d.blocks)-1].keys
}

func (d *depthGauge) add(tk *token.Token) {
	switch tk.Type {
	case token.MappingStartType, token.SequenceStartType:
		d.flow++
	case token.MappingEndType, token.SequenceEndType:
		d.flow = max(0, d.flow-1)
	case token.SequenceEntryType:
		d.block(tk.Position.Column, 0)
	case token.MappingValueType:
		if tk.Prev != nil {
			d.block(tk.Prev.Position.Column, 1)
		}
	}
}

func (d *depthGauge) block(column, keys int) {
	if d.flow > 0 {
		return
	}
	for len(d.blocks) > 0 && d.blocks[len(d.blocks)-1].column > column {
		d.blocks = d.blocks[:len(d.blocks)-1]
	}
	if len(d.blocks) == 0 || d.blocks[len(d.blocks)-1].column < column {
		d.blocks = append(d.blocks, blockLevel{column: column})
	}
	d.blocks[len(d.blocks)-1].keys += keys
}

// syntaxError puts a complaint of the YAML library into our words where its own
// are known to puzzle.
func (s *sourceFile) syntaxError(tk *token.Token, msg string) *Error {
	where := place{1, 1}
	if tk != nil {
		where = at(tk)
	}
	line := s.line(where.line)
	if indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; strings.Contains(indent, "\t") {
		return s.errorAt(place{where.line, strings.Index(indent, "\t") + 1}, "a tab indents this line; YAML wants spaces")
	}
	if strings.Contains(line, "${") {
		msg += "; within [] and {} a ${...} needs quotes"
	}
	return s.errorAt(where, "%s", "invalid YAML: "+msg)
}

func at(tk *token.Token) place {
	if tk.Position == nil {
		return place{1, 1}
	}
	return place{tk.Position.Line, tk.Position.Column}
}

// place is a line and a column within one file.
type place struct{ line, column int }

// errorAt makes an error that surely lies inside the file, whatever place the
// YAML library named. The document shows the line with it, once it is known what
// of that is secret.
func (s *sourceFile) errorAt(p place, format string, args ...any) *Error {
	p.line = max(1, min(p.line, s.lineCount()))
	line := s.line(p.line)
	p.column = max(1, min(p.column, utf8.RuneCountInString(line)+1))
	return &Error{Pos: Pos{File: s.name, Line: p.line, Column: p.column}, Msg: printable(fmt.Sprintf(format, args...)), source: s}
}

// printable keeps a file from talking to the terminal that an error is shown on.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7F && r < 0xA0 {
			return utf8.RuneError
		}
		return r
	}, text)
}
