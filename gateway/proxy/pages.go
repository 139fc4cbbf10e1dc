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
	_, _ = io.CopyN(io.Discard, res.Body, maxSpare) // whatever is wrong with it, the page is whole
	_ = res.Body.Close()
	for _, name := range ofBody {
		delete(h, name)
	}
	h["Content-Type"] = []string{page.MediaType}
	h["Content-Length"] = []string{strconv.Itoa(len(page.Body))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	res.Body, res.ContentLength = http.NoBody, int64(len(page.Body))
	res.Trailer, res.TransferEncoding = nil, nil
	if s.in.Method != http.MethodHead {
		res.Body = io.NopCloser(bytes.NewReader(page.Body))
	}
}
