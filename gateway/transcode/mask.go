package transcode

import (
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// appendMask writes a FieldMask of the members that a body has: who sends a part
// of a resource wants to change that part. The body has been read as a message by
// now, so it is well-formed, without repetitions and not deeper than allowed.
func (c *Call) appendMask(dst, body []byte) ([]byte, error) {
	paths := maskPaths(nil, "", body, c.patched)
	slices.Sort(paths)
	var mask []byte
	for _, p := range paths {
		mask = protowire.AppendTag(mask, 1, protowire.BytesType)
		mask = protowire.AppendString(mask, p)
	}
	dst = protowire.AppendTag(dst, c.mask, protowire.BytesType)
	return protowire.AppendBytes(dst, mask), nil
}

func maskPaths(paths []string, prefix string, body []byte, md protoreflect.MessageDescriptor) []string {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return paths // null, or nothing
	}
	for name, value := range members {
		fd := fieldByName(md, name)
		if fd == nil {
			continue // unknown, and discarded
		}
		path := prefix + string(fd.Name())
		if inner := fd.Message(); inner != nil && !fd.IsList() && !fd.IsMap() && !strings.HasPrefix(string(inner.FullName()), "google.protobuf.") {
			if below := maskPaths(nil, path+".", value, inner); len(below) > 0 {
				paths = append(paths, below...)
				continue
			}
		}
		paths = append(paths, path)
	}
	return paths
}
