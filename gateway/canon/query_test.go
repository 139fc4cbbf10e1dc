package canon

import (
	"strings"
	"testing"
)

func TestQuery(t *testing.T) {
	f := func(row, in, want string, ok bool) {
		t.Run(row, func(t *testing.T) {
			got, err := canonicalQuery(in, 1000)
			if code := status(t, err); got != want || (code == 0) != ok {
				t.Fatalf("canonicalQuery(%q) = %q, %v; want %q", in, got, err, want)
			}
			if again, err := canonicalQuery(got, 1000); err != nil || again != got {
				t.Errorf("not a fixpoint: %q became %q, %v", got, again, err)
			}
		})
	}
	same := func(row, in string) { f(row, in, in, true) }
	refused := func(row, in string) { f(row, in, "", false) }

	same("empty", "")
	same("plain", "a=1&b=2")
	same("nothing but separators", "&&=&")
	same("escapes are kept", "a=%0d%0a%00%c3%A9+%2b")
	same("P17", "x=/public/../..")
	same("P19 duplicate keys", "a=1&a=2")
	same("P19 1000 parameters", "a"+strings.Repeat("&a", 999))
	same("characters beyond RFC 3986", `filter[a]={"b":"c|d"}^`)
	f("T23", "a=caf\xc3\xa9", "a=caf%C3%A9", true)
	f("T23 not UTF-8", "a=\xe9", "a=%E9", true)

	refused("P19 semicolon", "a=1;b=2")
	refused("P19 bad escape", "a=%zz&b=2")
	refused("P19 cut off", "a=%2")
	refused("P19 lone percent", "a=%")
	refused("P19 1001 parameters", "a"+strings.Repeat("&a", 1000))
	refused("P19 10001 parameters", strings.Repeat("a&", 10000)+"a")
	refused("T21", "a=1#b")
	refused("T22", "a=\x01")
	refused("T22 delete", "a=\x7f")
	refused("space", "a= b")
}
