package openapi

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// Answer chooses the answer to a request. Errors are for the client.
func (m *Mock) Answer(op *Operation, p Preference, accept string) (Sampled, error) {
	status, key, err := op.choose(p.Code)
	if err != nil {
		return Sampled{}, err
	}
	answer := m.answers[op][key]
	out := Sampled{Status: status, Header: answer.headers}
	if len(answer.contents) == 0 {
		if p.Example != "" {
			return out, wish("the answer with status %d has no body and no examples", status)
		}
		return out, nil
	}
	chosen := answer.accepted(accept)
	if chosen == nil {
		return out, &gateway.Error{
			Status: http.StatusNotAcceptable, Reason: "mock_accept", Msg: "the document has this answer as " + op.responses[key].String(), Cause: gateway.CauseClient,
		}
	}
	if out.Media = chosen.media; strings.Contains(out.Media, "*") {
		out.Media = "application/json"
	}
	out.Body = chosen.fallback
	if p.Example != "" {
		named, ok := chosen.byName[p.Example]
		if !ok {
			return out, wish("there is no example of that name; there are: %s", strings.Join(slices.Sorted(maps.Keys(chosen.byName)), ", "))
		}
		out.Body = named
	}
	if out.Body == nil {
		return out, &gateway.Error{
			Status: http.StatusNotImplemented, Reason: "mock_example", Msg: "the document has no example of the type " + chosen.media, Cause: gateway.CauseGateway,
		}
	}
	return out, nil
}

func wish(format string, args ...any) error {
	return &gateway.Error{Status: http.StatusBadRequest, Reason: "mock_prefer", Msg: fmt.Sprintf(format, args...), Cause: gateway.CauseClient}
}

// choose finds the answer for a wish, or the first success.
func (op *Operation) choose(code int) (status int, key string, err error) {
	if code != 0 {
		key, ok := op.response(code)
		if !ok {
			return 0, "", wish("the document has no answer with status %d", code)
		}
		return code, key, nil
	}
	keys := slices.Sorted(maps.Keys(op.responses))
	for _, class := range []string{"2", "D", "3", "4", "5"} {
		for _, key := range keys {
			if key[:1] != class {
				continue
			}
			if status, err := strconv.Atoi(key); err == nil && status >= http.StatusOK && status <= 599 {
				return status, key, nil
			}
			if key == "DEFAULT" {
				return http.StatusOK, key, nil
			}
			if strings.HasSuffix(key, "XX") {
				return int(key[0]-'0') * 100, key, nil
			}
		}
	}
	return 0, "", &gateway.Error{
		Status: http.StatusNotImplemented, Reason: "mock_example", Msg: "the document has no answer that a mock could give", Cause: gateway.CauseGateway,
	}
}

// accepted is the content that a client likes best; of equals, the first.
func (a *mockAnswer) accepted(accept string) *mockContent {
	var best *mockContent
	liked := 0.0
	for i := range a.contents {
		if q := quality(accept, a.contents[i].media); q > liked {
			best, liked = &a.contents[i], q
		}
	}
	return best
}

// quality is how much a client likes a media type: the most precise range counts
// (RFC 9110, 12.5.1).
func quality(accept, media string) float64 {
	if strings.TrimSpace(accept) == "" {
		return 1
	}
	q, precision := 0.0, -1
	kind, _, _ := strings.Cut(media, "/")
	for item := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(item, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		p := -1
		switch {
		case name == media || media == "*/*":
			p = 2
		case name == kind+"/*":
			p = 1
		case name == "*/*":
			p = 0
		}
		if p <= precision {
			continue
		}
		q, precision = 1, p
		for param := range strings.SplitSeq(params, ";") {
			if value, ok := strings.CutPrefix(strings.TrimSpace(param), "q="); ok {
				if n, err := strconv.ParseFloat(value, 64); err == nil {
					q = n
				}
			}
		}
	}
	return q
}
