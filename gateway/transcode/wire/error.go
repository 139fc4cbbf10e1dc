package wire

import (
	"strconv"
	"strings"
)

// Error tells what is wrong with a message, in words that may be shown to the
// client: it names places and types, and repeats no value.
type Error struct {
	// Path is where it is: a JSON pointer (RFC 6901), empty for the whole.
	Path string
	// Offset is how many bytes of the input lie before it.
	Offset int
	// Msg says what is wrong.
	Msg string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Msg + " (byte " + strconv.Itoa(e.Offset) + ")"
	}
	return e.Path + ": " + e.Msg + " (byte " + strconv.Itoa(e.Offset) + ")"
}

// maxPath bounds the path of an error, which may hold names that a client chose.
const maxPath = 256

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// under puts the error below a member of an object.
func (e *Error) under(name string) *Error {
	name = pointerEscaper.Replace(name)
	if len(name)+len(e.Path) < maxPath {
		e.Path = "/" + name + e.Path
	}
	return e
}

// at puts the error below an element of a list.
func (e *Error) at(index int) *Error {
	return e.under(strconv.Itoa(index))
}
