package grammar

import (
	"slices"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// Each single byte, against the tables of another house.
func TestClasses(t *testing.T) {
	for c := range 256 {
		s := string([]byte{byte(c)})
		if got, want := IsToken(s), httpguts.ValidHeaderFieldName(s); got != want {
			t.Errorf("byte %#x: a token %v, want %v", c, got, want)
		}
		if got, want := IsValue([]byte(s)), httpguts.ValidHeaderFieldValue(s); got != want {
			t.Errorf("byte %#x: a value %v, want %v", c, got, want)
		}
		if got, want := IsTarget(s), c > 0x20 && c < 0x7f; got != want {
			t.Errorf("byte %#x: of a target %v, want %v", c, got, want)
		}
	}
	if IsToken("") || !IsValue("") || IsToken("a b") || IsToken("ab ") {
		t.Error("empty or divided text is misjudged")
	}
}

func TestElements(t *testing.T) {
	got := slices.Collect(Elements([]string{"a, b\t,,", "", " c d ,", ","}))
	if want := []string{"a", "b", "c d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for range Elements([]string{"a,b", "c"}) {
		break
	}
}

func TestHasToken(t *testing.T) {
	for _, tc := range []struct {
		list string
		want bool
	}{{"close", true}, {"keep-alive , CLOSE", true}, {"closed", false}, {"", false}, {"close;a", false}, {"\tclose", true}} {
		if got := HasToken([]string{"x", tc.list}, "close"); got != tc.want {
			t.Errorf("%q: %v", tc.list, got)
		}
	}
	lists := []string{"keep-alive, Upgrade"}
	if n := testing.AllocsPerRun(100, func() { HasToken(lists, "upgrade") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
