package http1

import (
	"slices"
	"strconv"
	"sync"
)

// writeSize is for most answers to leave with one write.
const writeSize = 16 << 10

var writeBuffers = sync.Pool{New: func() any { return new([writeSize]byte) }}

// headRoom is kept free before the body, for the fields that say where it ends, or the
// size of a chunk.
const headRoom = 64

// buffer holds what is to be sent: a head, then a gap, then some of the body. The gap is
// closed when it is known what stands in it.
type buffer struct {
	pool *[writeSize]byte // nil while there is none
	open bool             // the head is not complete
	head []byte           // in front; of the array unless it is large
	body int              // where the body begins, in pool
	end  int              // and where it ends
}

// begin has a head written. whole says that nothing is to be added to it.
func (b *buffer) begin(write func([]byte) []byte, whole bool) {
	b.pool = writeBuffers.Get().(*[writeSize]byte)
	b.head = write(b.pool[:0])
	b.open = !whole
	if b.body = len(b.head) + headRoom; b.body > len(b.pool)/2 { // it gets a place of its own
		b.head, b.body = slices.Clone(b.head), headRoom
	}
	b.end = b.body
}

// add takes as much of p as there is room for, less the end of a chunk.
func (b *buffer) add(p []byte) int {
	if b.pool == nil {
		b.pool = writeBuffers.Get().(*[writeSize]byte)
		b.body, b.end = headRoom, headRoom
	}
	n := copy(b.pool[b.end:len(b.pool)-2], p)
	b.end += n
	return n
}

// frame completes the head.
func (b *buffer) frame(fields string) {
	b.open = false
	b.head = append(b.head, fields...)
}

// chunk makes a chunk of the body.
func (b *buffer) chunk() {
	if b.end == b.body {
		return
	}
	var size [20]byte
	line := append(strconv.AppendInt(size[:0], int64(b.end-b.body), 16), "\r\n"...)
	b.end += copy(b.pool[b.end:], "\r\n")
	b.body -= copy(b.pool[b.body-len(line):], line)
}

// take empties the buffer. The result is good until the next use. more leaves room
// for the size of a chunk.
func (b *buffer) take(more bool) []byte {
	if b.pool == nil {
		return nil
	}
	var all []byte
	switch {
	case len(b.head) == 0:
		all = b.pool[b.body:b.end]
	case len(b.head) <= b.body:
		from := b.body - len(b.head)
		copy(b.pool[from:], b.head)
		all = b.pool[from:b.end]
	default: // a head that is larger than the array
		all = slices.Concat(b.head, b.pool[b.body:b.end])
	}
	b.head, b.body = nil, 0
	if more {
		b.body = headRoom
	}
	b.end = b.body
	return all
}

// free gives the array back.
func (b *buffer) free() {
	if b.pool != nil {
		writeBuffers.Put(b.pool)
		b.pool = nil
	}
}
