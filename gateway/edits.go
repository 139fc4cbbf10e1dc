package gateway

import (
	"maps"
	"net/http"
	"slices"
)

// UpstreamHeader is what would go upstream under name as things stand, if the client
// has sent h. The values are not for writing.
func (x *Exchange) UpstreamHeader(h http.Header, name string) []string {
	values := h[name]
	if slices.Contains(x.upstreamDrop, name) {
		values = nil
	}
	if set, ok := x.upstreamSet[name]; ok {
		values = set
	}
	if added := x.upstreamAdd[name]; len(added) > 0 {
		values = slices.Concat(values, added)
	}
	return values
}

// AppendUpstreamHeaders adds to b what middlewares have said so far of headers that go
// upstream, so that two requests about which they have said the same give the same.
func (x *Exchange) AppendUpstreamHeaders(b []byte) []byte {
	for _, name := range x.upstreamDrop {
		b = append(append(append(b, '-'), name...), '\n')
	}
	b = appendSorted(b, '=', x.upstreamSet)
	return appendSorted(b, '+', x.upstreamAdd)
}

func appendSorted(b []byte, sign byte, h http.Header) []byte {
	if len(h) == 0 {
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		b = append(append(append(b, sign), name...), '\n')
		for _, v := range h[name] {
			b = append(append(b, v...), '\n')
		}
	}
	return b
}

// Again is an exchange for a request that the gateway makes itself in the words of the
// one of x: it goes upstream as that one would, and what becomes of it is its own.
func (x *Exchange) Again() *Exchange {
	y := x.Beside()
	y.upstreamDrop = slices.Clone(x.upstreamDrop)
	y.upstreamSet, y.upstreamAdd = x.upstreamSet.Clone(), x.upstreamAdd.Clone()
	return y
}
