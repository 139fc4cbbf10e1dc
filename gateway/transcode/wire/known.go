package wire

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// known is a message with a JSON form of its own.
type known uint8

const (
	ordinary known = iota
	anyMessage
	timestamp
	duration
	fieldMask
	structMessage
	listValue
	value
	wrapper
	empty // ordinary but for Any, where its members stand under "value"
)

// The numbers of the fields of google.protobuf.Value, one less: their index.
const (
	valueNull = iota
	valueNumber
	valueString
	valueBool
	valueStruct
	valueList
)

// knownTypes are the messages of google.protobuf with a form of their own, and
// the fields that make the form possible: kinds by number, "*" for repeated.
var knownTypes = map[string]struct {
	known  known
	fields string
}{
	"Any":         {anyMessage, "string bytes"},
	"Timestamp":   {timestamp, "int64 int32"},
	"Duration":    {duration, "int64 int32"},
	"FieldMask":   {fieldMask, "string*"},
	"Struct":      {structMessage, "message*"},
	"ListValue":   {listValue, "message*"},
	"Value":       {value, "enum double string bool message message"},
	"Empty":       {empty, ""},
	"BoolValue":   {wrapper, "bool"},
	"Int32Value":  {wrapper, "int32"},
	"Int64Value":  {wrapper, "int64"},
	"UInt32Value": {wrapper, "uint32"},
	"UInt64Value": {wrapper, "uint64"},
	"FloatValue":  {wrapper, "float"},
	"DoubleValue": {wrapper, "double"},
	"StringValue": {wrapper, "string"},
	"BytesValue":  {wrapper, "bytes"},
}

// wellKnown tells what form a message has. A descriptor set may call anything
// google.protobuf.Timestamp, so its fields are looked at.
func wellKnown(md protoreflect.MessageDescriptor) (known, error) {
	if md.ParentFile() == nil || md.FullName().Parent() != "google.protobuf" {
		return ordinary, nil
	}
	k, ok := knownTypes[string(md.Name())]
	if !ok {
		return ordinary, nil
	}
	fields := strings.Fields(k.fields)
	same := md.Fields().Len() == len(fields)
	for i := range fields {
		fd := md.Fields().ByNumber(protoreflect.FieldNumber(i + 1))
		if !same || fd == nil || fd.Index() != i {
			same = false
			break
		}
		kind, repeated := strings.CutSuffix(fields[i], "*")
		same = fd.Kind().String() == kind && (fd.Cardinality() == protoreflect.Repeated) == repeated &&
			fd.IsMap() == (k.known == structMessage)
	}
	if !same {
		return ordinary, fmt.Errorf("message %s: its fields are not those that the type has", md.FullName())
	}
	return k.known, nil
}
