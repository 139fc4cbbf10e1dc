package canon

import (
	"net/url"

	"github.com/pithead/pithead/gateway"
)

// SetPath sets Path and RawPath of u together, as parsing the canonical escaped
// path would. It is the only place that writes them, because a Path and a
// RawPath that disagree are two requests in one (CVE-2026-40912).
func SetPath(u *url.URL, canonical string) {
	u.Path, u.RawPath = canonical, ""
	if plainPath(canonical, pathURL) {
		return
	}
	path, err := url.PathUnescape(canonical)
	if err != nil {
		path = canonical // no canonical path; it will be sent with its percent signs escaped
	}
	u.Path = path
	if u.EscapedPath() != canonical {
		u.RawPath = canonical
	}
}

// Rewrite replaces the path of u by another escaped one. The new path must be
// canonical as it is: when stripping a prefix or filling in a template leaves a
// dot segment, two slashes in a row or a new escape, the request was made to get
// past the match (CVE-2026-40912, CVE-2026-65600), and it is refused. Of the
// characters that routes may allow, only those pass that the old path held.
func Rewrite(u *url.URL, path string) error {
	_, allow, err := Path(u.EscapedPath(), AnyEncoded)
	if err != nil {
		return err
	}
	canonical, _, err := Path(path, allow)
	if err != nil {
		return err
	}
	if canonical != path {
		return gateway.BadRequest("path_rewrite", "the path is not canonical after a rewrite")
	}
	SetPath(u, canonical)
	return nil
}
