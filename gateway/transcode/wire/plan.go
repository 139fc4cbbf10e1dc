package wire

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Plan is how one message type is read and printed. It is made by Compile,
// never changes, and may be used by many goroutines at once.
type Plan struct {
	md       protoreflect.MessageDescriptor
	home     *home
	known    known
	fields   []*field // in the order of declaration
	byName   map[string]*field
	dense    []*field // by number, for small numbers
	sparse   map[protowire.Number]*field
	oneofs   int
	required int
}

// home is what all plans of one Compile share.
type home struct {
	o        Options
	seed     maphash.Seed
	types    atomic.Pointer[map[string]*Plan] // for Any, by full name; replaced as a whole
	adding   sync.Mutex
	encoders sync.Pool
	printers sync.Pool
}

type shape uint8

const (
	single shape = iota
	list
	mapping
)

// field is how one field is read and printed.
type field struct {
	fd       protoreflect.FieldDescriptor
	kind     protoreflect.Kind
	shape    shape
	wtype    protowire.Type
	index    int
	oneof    int // of the oneofs of the message, -1 for none
	implicit bool
	required bool
	packed   bool
	utf8     bool // invalid UTF-8 on the wire is an error even where it is not printed
	null     bool // JSON null is a value of the field
	emit     bool // printed when not set
	name     string
	quoted   []byte // the JSON name in quotes, nil if it needs escapes
	label    []byte // a comma, the printed name in quotes, a colon
	tag      []byte
	end      []byte // the end tag of a group
	plan     *Plan  // of the message, or of the entries of a map
	enum     *enum
}

// enum is how the values of an enum are called.
type enum struct {
	numbers map[string]int32
	labels  map[int32][]byte // in quotes
	dense   [][]byte         // the same, for small numbers
	isNull  bool             // google.protobuf.NullValue, which is JSON null
}

func (e *enum) label(n int32) []byte {
	if uint32(n) < uint32(len(e.dense)) {
		return e.dense[n]
	}
	return e.labels[n]
}

// Descriptor is what the plan was compiled from.
func (p *Plan) Descriptor() protoreflect.MessageDescriptor {
	return p.md
}

// field finds a field by the number on the wire; nil is an unknown one.
func (p *Plan) field(n protowire.Number) *field {
	if uint32(n) < uint32(len(p.dense)) {
		return p.dense[n]
	}
	return p.sparse[n]
}

// AppendWire reads one JSON text and appends the message to dst. Errors are of
// type *Error; dst comes back as it was then.
func (p *Plan) AppendWire(dst, json []byte) ([]byte, error) {
	e := p.home.encoder(dst, json)
	err := e.message(p)
	if err == nil {
		err = e.end()
	}
	if out := e.free(); err == nil {
		return out, nil
	}
	return dst, err
}

// AppendJSON reads a message and appends it to dst as JSON. Errors are of type
// *Error; dst comes back as it was then.
func (p *Plan) AppendJSON(dst, wire []byte) ([]byte, error) {
	pr, err := p.home.printer(dst, wire)
	if err != nil {
		return dst, err
	}
	err = pr.message(p, pr.whole())
	if out := pr.free(); err == nil {
		return out, nil
	}
	return dst, err
}
