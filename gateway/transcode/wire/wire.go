// Package wire turns JSON into protobuf wire format and back, by plans that are
// compiled once from descriptors. No message is built in between, and nothing
// is looked up by reflection while requests pass.
//
// The JSON is that of ProtoJSON (https://protobuf.dev/programming-guides/json),
// and protojson of the Go module is the measure: what a plan accepts, protojson
// accepts, and it means the same. A plan is stricter where a second reader of
// the same bytes could come to another view:
//
//   - Nesting deeper than Options.MaxDepth is refused, on the way out as well.
//   - Numbers follow RFC 8259: "1e" is no number.
//   - A Timestamp follows RFC 3339 to the letter: two digits for the hour, a
//     full stop before the fraction.
//   - A Duration has at least one digit.
//   - A key of a map stands there once, also where its value is discarded.
//
// As with protojson, "NaN" and "Infinity" in quotes are numbers where a field is
// float or double, an enum may be a number that it has no name for, and integers
// may be written as fractions or with an exponent. Names are compared to the
// letter, and nothing is taken twice.
//
// Extensions are unknown fields. Members that are unknown are refused, or
// skipped with Options.DiscardUnknown; what is skipped is read as strictly as
// the rest, but the names in it are not compared with each other.
//
// Fields are printed in the order in which the message declares them, members
// of maps by key, without spaces. Fields are written to the wire in the order
// in which the JSON has them.
package wire

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// DefaultMaxDepth is how deep JSON may be nested unless Options say otherwise.
const DefaultMaxDepth = 64

// Options say how messages are read and printed.
type Options struct {
	// MaxDepth is how deep objects and arrays may be nested. Default: 64.
	MaxDepth int
	// DiscardUnknown skips members and names of enums that the descriptor does
	// not know, instead of refusing them.
	DiscardUnknown bool
	// EmitDefaults prints fields without presence that are not set: scalars with
	// their zero, lists as [], maps as {}.
	EmitDefaults bool
	// ProtoNames prints fields under the names of the .proto file. Both names
	// are always read.
	ProtoNames bool
	// EnumNumbers prints enums as numbers.
	EnumNumbers bool
	// Types finds the messages inside google.protobuf.Any. Without it only an
	// empty Any is read or printed.
	Types Resolver
}

// Resolver finds the type that the URL of a google.protobuf.Any names. What it
// answers is remembered under the name behind the last slash.
// *protoregistry.Types and *dynamicpb.Types are resolvers.
type Resolver interface {
	FindMessageByURL(url string) (protoreflect.MessageType, error)
}
