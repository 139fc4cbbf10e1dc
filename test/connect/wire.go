package main

import (
	"encoding/binary"
	"errors"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// readMessage reads one message with its length before it; nil at the end.
func readMessage(r io.Reader) []byte {
	var n [4]byte
	_, err := io.ReadFull(r, n[:])
	if errors.Is(err, io.EOF) {
		return nil
	}
	check(err)
	b := make([]byte, binary.BigEndian.Uint32(n[:]))
	_, err = io.ReadFull(r, b)
	check(err)
	return b
}

func writeMessage(w io.Writer, b []byte) {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	check(err)
}

type field struct {
	num protowire.Number
	val []byte // without the tag
	raw []byte // with it
}

// fields is a message of which only some fields matter here; the others pass as
// they are.
type fields []field

func parse(b []byte) (fs fields) {
	for len(b) > 0 {
		num, _, n := protowire.ConsumeField(b)
		if n < 0 {
			check(protowire.ParseError(n))
		}
		_, _, t := protowire.ConsumeTag(b)
		fs = append(fs, field{num, b[t:n], b[:n]})
		b = b[n:]
	}
	return fs
}

func (fs fields) varint(num protowire.Number) (v uint64) {
	for _, f := range fs {
		if f.num == num {
			v, _ = protowire.ConsumeVarint(f.val)
		}
	}
	return v
}

func (fs fields) bytes(num protowire.Number) (v []byte) {
	for _, f := range fs {
		if f.num == num {
			v, _ = protowire.ConsumeBytes(f.val)
		}
	}
	return v
}

func (fs fields) encode() (b []byte) {
	for _, f := range fs {
		b = append(b, f.raw...)
	}
	return b
}
