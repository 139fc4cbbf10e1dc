package hostile_test

import (
	"strings"
	"testing"
)

// refusedPath is a row for a path that no route may ever see.
func refusedPath(name, path, reason string) row {
	return row{name: name, in: get(path), status: 400, reason: reason}
}

// Paths that two readers could take for different ones are refused; of those
// that have several spellings, one goes upstream, and the route is that one's.
func TestPaths(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, pathRows())
}

func pathRows() []row {
	manyParams := strings.Repeat("a&", 999)
	return []row{
		refusedPath("P01 dot segments", "/pub/../admin", "path_dots"),
		refusedPath("P01 single dot", "/pub/./admin", "path_dots"),
		refusedPath("P01 at the end", "/pub/..", "path_dots"),
		refusedPath("P01 beyond the root", "/../../etc/passwd", "path_dots"),
		refusedPath("P02 lower-case dots", "/pub/%2e%2e/admin", "path_dots"),
		refusedPath("P02 upper-case dots", "/pub/%2E%2e/admin", "path_dots"),
		refusedPath("P02 half-encoded dots", "/pub/.%2e/admin", "path_dots"),
		refusedPath("P03 encoded slashes", "/pub%2f..%2fadmin", "path_dots"),
		refusedPath("P03 on a route that allows slashes", "/encoded%2f..%2fadmin", "path_dots"),
		{name: "P03 slash on a route without", in: get("/pub/a%2fb"), status: 400, reason: "path_encoded", route: "pub"},
		{name: "P03 slash on a route with", in: get("/encoded/a%2fb"), status: 200, open: true, to: "GET /encoded/a%2Fb", route: "encoded"},
		refusedPath("P04 encoded backslash", "/pub%5c..%5cadmin", "bad_path"),
		refusedPath("P04 raw backslash", `/pub\..\admin`, "bad_path"),
		refusedPath("P04 on a route that allows slashes", "/encoded/%5cadmin", "bad_path"),
		refusedPath("P05 encoded NUL", "/admin%00.png", "bad_path"),
		refusedPath("P05 encoded newline", "/admin%0a", "bad_path"),
		refusedPath("P05 encoded DEL", "/admin%7f", "bad_path"),
		refusedPath("P06 encoded semicolon", "/admin%3bx/", "path_encoded"),
		refusedPath("P06 path parameter", "/admin;jsessionid=1/x", "path_encoded"),
		refusedPath("P06 dots before a parameter", "/encoded/..;/admin", "path_dots"),
		refusedPath("P07 encoded question mark", "/pub%3fx", "bad_path"),
		refusedPath("P07 encoded number sign", "/pub%23x", "bad_path"),
		refusedPath("P08 double-encoded dots", "/pub/%252e%252e/admin", "path_encoded"),
		refusedPath("P08 double-encoded slash", "/pub%252fadmin", "path_encoded"),
		{name: "P09 two slashes", in: get("//evil/x"), status: 200, open: true, to: "GET /evil/x", route: "rest"},
		{name: "P09 many slashes", in: get("///admin//b"), status: 200, open: true, to: "GET /admin/b", route: "admin"},
		{name: "P09 slashes at the end", in: get("/admin//"), status: 200, open: true, to: "GET /admin/", route: "admin"},
		refusedPath("P10 overlong dots", "/pub/%c0%ae%c0%ae/admin", "bad_path"),
		refusedPath("P10 invalid UTF-8", "/pub/%ff", "bad_path"),
		refusedPath("P10 surrogate", "/pub/%ed%a0%80", "bad_path"),
		{name: "P11 no hexadecimal digits", in: get("/pub/%zz"), status: 400, reason: "bad_target"},
		{name: "P11 lone percent sign", in: get("/pub/%"), status: 400, reason: "bad_target"},
		{name: "P12 case", in: get("/Admin"), status: 200, open: true, to: "GET /Admin", route: "rest"},
		{name: "P12 encoded letter", in: get("/%61dmin/x"), status: 200, open: true, to: "GET /admin/x", route: "admin"},
		{name: "P12 encoded capital", in: get("/%41dmin/x"), status: 200, open: true, to: "GET /Admin/x", route: "rest"},
		{name: "P12 all of it encoded", in: get("/%61%64%6d%69%6e"), status: 200, open: true, to: "GET /admin", route: "admin"},
		{name: "P15 one spelling", in: get("/pub/%c3%a4%7e%21"), status: 200, open: true, to: "GET /pub/%C3%A4~%21", route: "pub"},
		{name: "P15 raw UTF-8", in: get("/pub/\xc3\xa4"), status: 200, open: true, to: "GET /pub/%C3%A4", route: "pub"},
		{name: "P16 slash at the end", in: get("/pub/"), status: 200, open: true, to: "GET /pub/", route: "pub"},
		{name: "P16 space", in: get("/pub/a%20b"), status: 200, open: true, to: "GET /pub/a%20b", route: "pub"},
		refusedPath("P16 slash and dot", "/pub/.", "path_dots"),
		{name: "P16 segment with dots in it", in: get("/pub/..a/b..c/..."), status: 200, open: true, to: "GET /pub/..a/b..c/...", route: "pub"},
		{name: "P16 no partial segment", in: get("/administrator"), status: 200, open: true, to: "GET /administrator", route: "rest"},
		{name: "P17 path in the query", in: get("/admin?x=/pub/../.."), status: 200, open: true, to: "GET /admin?x=/pub/../..", route: "admin"},
		{name: "P18 authority in the path", in: get("//evil.example/%2f.."), status: 400, reason: "bad_path"},
		{name: "P19 semicolon in the query", in: get("/query?a=1;b=2"), status: 400, reason: "bad_query"},
		{name: "P19 bad escape in the query", in: get("/query?a=%zz&b=2"), status: 400, reason: "bad_query"},
		{name: "P19 duplicate key", in: get("/query?a=2&a=1"), status: 200, open: true, to: "GET /query?a=2&a=1"},
		{name: "P19 1000 parameters", in: get("/query?" + manyParams + "a"), status: 200, open: true, to: "GET /query?" + manyParams + "a"},
		{name: "P19 1001 parameters", in: get("/query?" + manyParams + "a&a"), status: 400, reason: "query_params"},
		{name: "P19 raw UTF-8", in: get("/query?a=\xc3\xa4"), status: 200, open: true, to: "GET /query?a=%C3%A4"},
		refusedPath("P20 7 KiB of dots", "/"+strings.Repeat("../", 7<<10/3), "path_dots"),
		{name: "P22 two dots as a parameter", in: get("/users/.."), status: 400, reason: "path_dots"},
		{name: "P22 encoded slash in a parameter", in: get("/users/a%2fb"), status: 400, reason: "path_encoded"},
		{name: "P22 two segments", in: get("/users/a/b"), status: 200, open: true, to: "GET /users/a/b", route: "rest"},
		{name: "P22 empty parameter", in: get("/users/"), status: 200, open: true, to: "GET /users/", route: "rest"},
		{name: "P22 one segment", in: get("/users/a"), status: 200, open: true, to: "GET /users/a", route: "user"},
	}
}

// However the path of a protected route is spelled, the request is refused, or
// it is on that route and the upstream sees the same path.
func TestPathsAreOnOneRoute(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	hex := func(b byte, upper bool) string {
		const lower, upperDigits = "0123456789abcdef", "0123456789ABCDEF"
		if upper {
			return "%" + upperDigits[b>>4:][:1] + upperDigits[b&15:][:1]
		}
		return "%" + lower[b>>4:][:1] + lower[b&15:][:1]
	}
	const path = "/admin/x"
	var spellings []string
	for i := range len(path) {
		for _, upper := range []bool{false, true} {
			spellings = append(spellings, path[:i]+hex(path[i], upper)+path[i+1:])
		}
		for _, more := range []string{"/", "/./", "/../", "/pub/../", "/.;/", "//", "/%2e/", "%2f", ";a", "%00", "%5c", "%ef%bc%8f", "\\", "%09", "%20"} {
			spellings = append(spellings, path[:i]+more+path[i:])
		}
	}
	for _, path := range spellings {
		if !strings.HasPrefix(path, "/") {
			continue
		}
		got := e.exchange(t, get(path))
		m := e.upstream.next()
		if got.status == 400 && m == nil {
			continue
		}
		if m == nil {
			t.Errorf("%s: got %d and nothing upstream", path, got.status)
			continue
		}
		line := e.log.line(t, m.values("X-Request-Id")[0])
		if protected := m.target == "/admin" || strings.HasPrefix(m.target, "/admin/"); protected != (line.Route == "admin") {
			t.Errorf("%s is on route %s and %s upstream", path, line.Route, m.target)
		}
	}
	e.upstream.checkStrict(t)
}
