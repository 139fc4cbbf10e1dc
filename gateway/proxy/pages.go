package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// maxSpare is how much of a body nobody wants is read, so that its connection
// can be used again.
const maxSpare = 64 << 10

// ofBody are headers that describe the body of an answer, and mean nothing
// beside another one.
var ofBody = []string{
	"Accept-Ranges", "Content-Digest", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Location",
	"Content-Md5", "Digest", "Etag", "Last-Modified", "Repr-Digest", "Trailer",
}

// replace puts the operator's page, if there is one, in the place of what the
// upstream says of an error. Its other headers stay: they may tell the client
// when to come again, or how to prove who it is.
func (s *relay) replace(res *http.Response) {
	page := s.x.Pages.Page(s.in, res.StatusCode, "")
	h := res.Header
	if page.Vary {
		h.Add("Vary", "Accept")
	}
	if page.MediaType == "" {
		return
	}
	for _, name := range ofBody {
		delete(h, name)
	}
	h["Content-Type"] = []string{page.MediaType}
	h["Content-Length"] = []string{strconv.Itoa(len(page.Body))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	res.ContentLength, res.Trailer, res.TransferEncoding = int64(len(page.Body)), nil, nil
	if s.in.Method != http.MethodHead {
		res.Body = &pageBody{bytes.NewReader(page.Body), s, res, res.Body}
	}
}

// pageBody is a page in the place of the body that the upstream has sent.
type pageBody struct {
	*bytes.Reader
	s    *relay
	res  *http.Response
	body io.ReadCloser // of the upstream
}

// Close gets the upstream's body out of the way. The client has the page by then,
// so that it neither waits for that body nor hears what is wrong with it.
func (b *pageBody) Close() error {
	b.s.flush()
	_, _ = io.CopyN(io.Discard, b.body, maxSpare)
	_ = b.body.Close()
	b.res.Trailer = nil // the transport fills it in with the end of the body
	return nil
}
