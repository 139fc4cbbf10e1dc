package transcode

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Compare finds what breaks clients, or bytes that have been kept, between an earlier
// schema and a new one. Google's own packages are left out.
func Compare(earlier, now *Schema) []Finding {
	c := &comparer{now: now}
	for _, sd := range earlier.Services() {
		c.service(sd)
	}
	earlier.Files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(fd.Package()), "google.") {
			c.messages(fd.Messages())
			c.enums(fd.Enums())
		}
		return true
	})
	return sorted(c.all)
}

type comparer struct {
	now *Schema
	all []Finding
}

// breaks records a break at the place of what there is now.
func (c *comparer) breaks(at protoreflect.Descriptor, format string, args ...any) {
	l := linter{seen: make(map[string]bool)}
	l.find(RuleBreaking, true, positionOf(at), format, args...)
	c.all = append(c.all, l.all...)
}

func (c *comparer) service(was protoreflect.ServiceDescriptor) {
	d, _ := c.now.Files.FindDescriptorByName(was.FullName()) // none is nil
	is, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		c.breaks(was, "the service %s is gone", was.FullName())
		return
	}
	for i := range was.Methods().Len() {
		before := was.Methods().Get(i)
		after := is.Methods().ByName(before.Name())
		switch {
		case after == nil:
			c.breaks(is, "the method %s is gone", before.FullName())
			continue
		case before.IsStreamingClient() != after.IsStreamingClient():
			c.breaks(after, "the requests of %s %s", before.FullName(), streams(after.IsStreamingClient()))
		case before.IsStreamingServer() != after.IsStreamingServer():
			c.breaks(after, "the answers of %s %s", before.FullName(), streams(after.IsStreamingServer()))
		}
		if before.Input().FullName() != after.Input().FullName() {
			c.breaks(after, "%s takes %s, not %s any more", before.FullName(), after.Input().FullName(), before.Input().FullName())
		}
		if before.Output().FullName() != after.Output().FullName() {
			c.breaks(after, "%s answers %s, not %s any more", before.FullName(), after.Output().FullName(), before.Output().FullName())
		}
	}
}

func streams(now bool) string {
	if now {
		return "have become a stream"
	}
	return "are no stream any more"
}

func (c *comparer) messages(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		was := list.Get(i)
		if was.IsMapEntry() {
			continue
		}
		d, _ := c.now.Files.FindDescriptorByName(was.FullName()) // none is nil
		if is, ok := d.(protoreflect.MessageDescriptor); ok {
			c.fields(was, is)
		} else {
			c.breaks(was, "the message %s is gone", was.FullName())
		}
		c.messages(was.Messages())
		c.enums(was.Enums())
	}
}

func (c *comparer) fields(was, is protoreflect.MessageDescriptor) {
	for i := range was.Fields().Len() {
		before := was.Fields().Get(i)
		after := is.Fields().ByNumber(before.Number())
		if after == nil {
			if moved := is.Fields().ByName(before.Name()); moved != nil {
				c.breaks(moved, "the field %s had the number %d, not %d", before.FullName(), before.Number(), moved.Number())
			} else {
				c.breaks(is, "the field %s (%d) is gone", before.FullName(), before.Number())
			}
			continue
		}
		if before.Name() != after.Name() {
			c.breaks(after, "the field %d of %s was called %s, not %s", before.Number(), was.FullName(), before.Name(), after.Name())
		} else if before.JSONName() != after.JSONName() {
			c.breaks(after, "the field %s was %s in JSON, not %s", before.FullName(), before.JSONName(), after.JSONName())
		}
		if a, b := typeText(before), typeText(after); a != b {
			c.breaks(after, "the field %s was %s, not %s", before.FullName(), a, b)
		}
		if before.Cardinality() != protoreflect.Required && after.Cardinality() == protoreflect.Required {
			c.breaks(after, "the field %s has become required", before.FullName())
		}
		if a, b := realOneof(before), realOneof(after); a != b && b != "" {
			c.breaks(after, "the field %s has moved into the oneof %s", before.FullName(), b)
		}
	}
	for i := range is.Fields().Len() {
		after := is.Fields().Get(i)
		if after.Cardinality() == protoreflect.Required && was.Fields().ByNumber(after.Number()) == nil {
			c.breaks(after, "the new field %s is required", after.FullName())
		}
	}
}

func realOneof(fd protoreflect.FieldDescriptor) protoreflect.Name {
	if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
		return od.Name()
	}
	return ""
}

// typeText is the type of a field as a .proto file has it.
func typeText(fd protoreflect.FieldDescriptor) string {
	if fd.IsMap() {
		return "map<" + typeText(fd.MapKey()) + ", " + typeText(fd.MapValue()) + ">"
	}
	text := fd.Kind().String()
	switch {
	case fd.Message() != nil:
		text = string(fd.Message().FullName())
	case fd.Enum() != nil:
		text = string(fd.Enum().FullName())
	}
	if fd.IsList() {
		return "repeated " + text
	}
	return text
}

func (c *comparer) enums(list protoreflect.EnumDescriptors) {
	for i := range list.Len() {
		was := list.Get(i)
		d, _ := c.now.Files.FindDescriptorByName(was.FullName()) // none is nil
		is, ok := d.(protoreflect.EnumDescriptor)
		if !ok {
			c.breaks(was, "the enum %s is gone", was.FullName())
			continue
		}
		for j := range was.Values().Len() {
			before := was.Values().Get(j)
			after := is.Values().ByName(before.Name())
			switch {
			case after == nil:
				c.breaks(is, "the value %s of %s is gone", before.Name(), was.FullName())
			case after.Number() != before.Number():
				c.breaks(after, "the value %s of %s was %d, not %d", before.Name(), was.FullName(), before.Number(), after.Number())
			}
		}
	}
}
