package transcode

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// rule is one way that google.api.http gives to a method.
type rule struct {
	method, path   string
	body, response string
	rpc            protoreflect.MethodDescriptor
}

// rulesOf are the rules in the options of a method, the additional ones behind
// the first.
func rulesOf(md protoreflect.MethodDescriptor) ([]rule, error) {
	// The set may know the extension by a type of its own, or not at all: through
	// bytes it becomes the one of this process.
	raw, err := proto.Marshal(md.Options())
	if err != nil {
		return nil, fmt.Errorf("%s: options of %s: %w", positionOf(md), md.FullName(), err)
	}
	var options descriptorpb.MethodOptions
	if err := proto.Unmarshal(raw, &options); err != nil {
		return nil, fmt.Errorf("%s: options of %s: %w", positionOf(md), md.FullName(), err)
	}
	h, ok := proto.GetExtension(&options, annotations.E_Http).(*annotations.HttpRule)
	if !ok || h == nil {
		return nil, nil
	}
	var all []rule
	for _, one := range append([]*annotations.HttpRule{h}, h.GetAdditionalBindings()...) {
		r, err := readRule(one, md)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func readRule(h *annotations.HttpRule, md protoreflect.MethodDescriptor) (rule, error) {
	r := rule{body: h.GetBody(), response: h.GetResponseBody(), rpc: md}
	switch p := h.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		r.method, r.path = "GET", p.Get
	case *annotations.HttpRule_Put:
		r.method, r.path = "PUT", p.Put
	case *annotations.HttpRule_Post:
		r.method, r.path = "POST", p.Post
	case *annotations.HttpRule_Delete:
		r.method, r.path = "DELETE", p.Delete
	case *annotations.HttpRule_Patch:
		r.method, r.path = "PATCH", p.Patch
	case *annotations.HttpRule_Custom:
		r.method, r.path = strings.ToUpper(p.Custom.GetKind()), p.Custom.GetPath()
	default:
		return r, fmt.Errorf("%s: %s has an http annotation without a path", positionOf(md), md.FullName())
	}
	if !slices.Contains(httpMethods, r.method) {
		return r, fmt.Errorf("%s: %s: the HTTP method %q is not one of %s", positionOf(md), md.FullName(), r.method, strings.Join(httpMethods, ", "))
	}
	return r, nil
}
