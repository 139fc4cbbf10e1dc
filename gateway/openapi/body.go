package openapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pithead/pithead/gateway"
)

// Body is how the body of one message is checked.
type Body struct {
	// Read says that the body must be read; others pass as they come.
	Read bool

	op      *Operation
	content *content
	form    bool
	answer  bool
}

// TakesBody says whether the document describes a body of requests, and whether there
// must be one.
func (op *Operation) TakesBody() (takes, needs bool) { return op.takesBody, op.needsBody }

// BodyOf finds how the body of a request with this content type is checked. An error
// is for the client: the operation does not take such bodies.
func (op *Operation) BodyOf(contentType string) (Body, error) {
	media, err := mediaOf(contentType)
	if err != nil {
		return Body{}, fmt.Errorf("the content type %w", err)
	}
	found := op.body.match(media)
	if found == nil {
		return Body{}, fmt.Errorf("this operation takes %s", op.body)
	}
	b := Body{op: op, content: found, form: media == "application/x-www-form-urlencoded"}
	b.Read = found.schema != nil && (isJSON(media) || b.form)
	return b, nil
}

// Answer finds how an answer is checked. problem is what is wrong with its status and
// type already. Answers that the document says nothing of in detail are not read.
func (op *Operation) Answer(status int, contentType string) (b Body, problem string) {
	key, ok := op.response(status)
	switch {
	case !ok && status >= http.StatusInternalServerError:
		return Body{}, "" // few documents list what goes wrong inside
	case !ok:
		return Body{}, "the document has no answer with status " + strconv.Itoa(status)
	case len(op.responses[key]) == 0 || contentType == "":
		return Body{}, ""
	}
	media, err := mediaOf(contentType)
	if err != nil {
		return Body{}, "the content type " + err.Error()
	}
	found := op.responses[key].match(media)
	if found == nil {
		return Body{}, "the document has no answer of the type " + clip(media, 60)
	}
	return Body{op: op, content: found, answer: true, Read: found.schema != nil && isJSON(media)}, ""
}

// Check holds a body to its schema.
func (b Body) Check(body []byte) []gateway.Violation {
	c := checker{in: "body", answer: b.answer}
	var v any
	if b.form {
		values, err := url.ParseQuery(string(body))
		if err != nil {
			c.fail("is no form")
			return c.out
		}
		v = b.content.schema.fromForm(values)
	} else {
		var err error
		if v, err = Decode(body, b.op.contract.opts.MaxDepth); err != nil {
			c.fail("%v", err)
			return c.out
		}
	}
	c.check(b.content.schema, v)
	return c.result()
}

// fromForm makes an object of the fields of a form.
func (s *schema) fromForm(values url.Values) any {
	members := make(map[string]any, len(values))
	for name, list := range values {
		one := s.properties[name]
		if one == nil {
			one = s.additional
		}
		if one != nil && one.wants(typeArray) || len(list) > 1 {
			items := make([]any, len(list))
			for i, text := range list {
				if one != nil {
					items[i] = scalar(one.items, text)
				} else {
					items[i] = text
				}
			}
			members[name] = items
			continue
		}
		members[name] = scalar(one, list[0])
	}
	return members
}

// MissingBody is the violation of a request without the body that it must have.
func MissingBody() []gateway.Violation {
	return []gateway.Violation{{In: "body", Pointer: "#", Detail: "is missing"}}
}
