package gateway

import "net/http"

// OnSend has f called with the request that goes upstream, when everything that
// middlewares have asked for is in it and nothing of it has been sent. f may put
// another body around the one that is there, which reads and closes it. It
// changes nothing else, and copies what it needs later: the transport owns out
// from then on. A request that is answered before it gets that far calls nobody.
func (x *Exchange) OnSend(f func(out *http.Request)) { x.onSend = append(x.onSend, f) }

// Sending calls what OnSend has registered, in order. It is for the proxy core,
// once for each exchange, however many attempts follow.
func (x *Exchange) Sending(out *http.Request) {
	for _, f := range x.onSend {
		f(out)
	}
}
