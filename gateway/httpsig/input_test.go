package httpsig

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// TestParseRefuses are fields that two readers may understand in two ways, and
// those that are just wrong.
func TestParseRefuses(t *testing.T) {
	const good = `a=("@method");created=1;keyid="k"`
	for _, c := range []struct{ name, input, value string }{
		{"no value", good, ""},
		{"no input", "", "a=:AAAA:"},
		{"another label", good, "b=:AAAA:"},
		{"a value without input", good, "a=:AAAA:, b=:AAAA:"},
		{"a label twice in the input", `a=("@method");created=1, a=("@path");created=1`, "a=:AAAA:"},
		{"a label twice in the values", good, "a=:AAAA:, a=:BBBB:"},
		{"a parameter twice", `a=("@method");created=1;created=2`, "a=:AAAA:"},
		{"a keyid twice", `a=("@method");keyid="x";keyid="k"`, "a=:AAAA:"},
		{"a parameter of a component twice", `a=("x";key="a";key="b");created=1`, "a=:AAAA:"},
		{"a component twice", `a=("@method" "@method");created=1`, "a=:AAAA:"},
		{"a component twice with its parameter", `a=("@query-param";name="x" "@query-param";name="x")`, "a=:AAAA:"},
		{"an item for a list", `a="@method";created=1`, "a=:AAAA:"},
		{"text for bytes", good, `a="AAAA"`},
		{"a list for bytes", good, `a=(:AAAA:)`},
		{"true for bytes", good, `a`},
		{"no bytes", good, `a=::`},
		{"bytes with a parameter", good, `a=:AAAA:;x=1`},
		{"bad base64", good, `a=:A-_A:`},
		{"a token for a component", `a=(method)`, "a=:AAAA:"},
		{"upper case", `a=("Date")`, "a=:AAAA:"},
		{"an empty name", `a=("")`, "a=:AAAA:"},
		{"the parameters themselves", `a=("@signature-params")`, "a=:AAAA:"},
		{"of an answer", `a=("@method";req)`, "a=:AAAA:"},
		{"of a trailer", `a=("x";tr)`, "a=:AAAA:"},
		{"sf of a derived one", `a=("@method";sf)`, "a=:AAAA:"},
		{"sf that is false", `a=("x";sf=?0)`, "a=:AAAA:"},
		{"bs and sf", `a=("x";bs;sf)`, "a=:AAAA:"},
		{"bs and key", `a=("x";bs;key="a")`, "a=:AAAA:"},
		{"a key that is a token", `a=("x";key=a)`, "a=:AAAA:"},
		{"a query parameter without a name", `a=("@query-param")`, "a=:AAAA:"},
		{"a name of something else", `a=("@path";name="x")`, "a=:AAAA:"},
		{"an unknown parameter", `a=("@method");created=1;critical`, "a=:AAAA:"},
		{"created as text", `a=("@method");created="1"`, "a=:AAAA:"},
		{"created as a decimal", `a=("@method");created=1.0`, "a=:AAAA:"},
		{"created as a date", `a=("@method");created=@1`, "a=:AAAA:"},
		{"created before time", `a=("@method");created=-1`, "a=:AAAA:"},
		{"expires as a token", `a=("@method");expires=never`, "a=:AAAA:"},
		{"keyid as a token", `a=("@method");keyid=k`, "a=:AAAA:"},
		{"alg empty", `a=("@method");alg=""`, "a=:AAAA:"},
		{"nonce empty", `a=("@method");nonce=""`, "a=:AAAA:"},
		{"a leading zero", `a=("@method");created=01`, "a=:AAAA:"},
		{"truth that is written out", `a=("x";sf=?1)`, "a=:AAAA:"},
		{"a comma at the end", good + ",", "a=:AAAA:"},
		{"not ASCII", `a=("@method");keyid="é"`, "a=:AAAA:"},
		{"a tab between components", "a=(\"@method\"\t\"@path\")", "a=:AAAA:"},
		{"many signatures", many(maxSignatures+1, `=("@method")`), many(maxSignatures+1, "=:AAAA:")},
		{"many components", "a=(" + strings.Repeat(`"x" `, maxComponents+1) + ")", "a=:AAAA:"},
		{"long", `a=("@method");keyid="` + strings.Repeat("k", maxField) + `"`, "a=:AAAA:"},
		{"a long value", good, "a=:" + strings.Repeat("AAAA", maxSignature) + ":"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if all, err := Parse(lines(c.input), lines(c.value)); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %+v, %v", all, err)
			}
		})
	}
}

func lines(field string) []string {
	if field == "" {
		return nil
	}
	return []string{field}
}

func many(n int, rest string) string {
	var all []string
	for i := range n {
		all = append(all, string(rune('a'+i))+rest)
	}
	return strings.Join(all, ", ")
}

// TestParse are fields that look odd and are right.
func TestParse(t *testing.T) {
	all, err := Parse(
		[]string{`a=("@method"   "date" );created=1; expires=2;keyid="a \"k\"  x";alg="ed25519"`, `b=();nonce="n";tag="t"`},
		[]string{"b=:QQ==:,a=:QUI=:"})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Label != "a" || string(all[0].Value) != "AB" || all[1].Label != "b" || string(all[1].Value) != "A" {
		t.Fatalf("%+v", all)
	}
	a, b := all[0], all[1]
	if !a.HasCreated || a.Created != 1 || !a.HasExpires || a.Expires != 2 || a.KeyID != `a "k"  x` || a.Algorithm != "ed25519" || len(a.Components) != 2 {
		t.Errorf("%+v", a)
	}
	if b.HasCreated || b.HasExpires || b.Nonce != "n" || b.Tag != "t" || len(b.Components) != 0 {
		t.Errorf("%+v", b)
	}
	base, err := a.Base(&Message{Method: "GET", Header: http.Header{"Date": {"today"}}})
	want := "\"@method\": GET\n\"date\": today\n\"@signature-params\": (\"@method\" \"date\");created=1;expires=2;keyid=\"a \\\"k\\\"  x\";alg=\"ed25519\""
	if string(base) != want || err != nil {
		t.Errorf("%v\n%s", err, base)
	}
	if all, err := Parse(nil, nil); all != nil || err != nil {
		t.Errorf("nothing is %v, %v", all, err)
	}
}

// TestComponents are the values of components, and those that have none.
func TestComponents(t *testing.T) {
	message := &Message{
		Method: "GET", Scheme: "https", Authority: "example.com:443", Path: "/a%20b",
		Query: "x=1&two=a+b%2Ac~%0A&two%20words=%C3%A9&twice=1&twice=2&bad=%zz&empty",
		Header: http.Header{
			"X-List": {" a ", "b, c"}, "X-Bin": {"\x01\xff"}, "X-Odd": {"a\xffb"}, "X-Dict": {`a=1, b=(1 2);x,  c`}, "X-Twice": {"a=1, a=2"},
			"Content-Digest": {"sha-256=:AAAA:,  md5=:AAAA:"}, "Client-Cert": {":AAAA: "}, "Client-Cert-Chain": {":AAAA:,:BBBB:"}, "X-Empty": {""},
		},
	}
	for component, want := range map[string]string{
		`"@method"`: "GET", `"@scheme"`: "https", `"@authority"`: "example.com", `"@path"`: "/a%20b", `"@query"`: "?" + message.Query,
		`"@target-uri"`:                       "https://example.com/a%20b?" + message.Query,
		`"@request-target"`:                   "/a%20b?" + message.Query,
		`"@query-param";name="x"`:             "1",
		`"@query-param";name="two"`:           "a%20b*c%7E%0A",
		`"@query-param";name="two%20words"`:   "%C3%A9",
		`"@query-param";name="empty"`:         "",
		`"@query-param";name="twice"`:         "-",
		`"@query-param";name="bad"`:           "-",
		`"@query-param";name="missing"`:       "-",
		`"@status"`:                           "-",
		`"@unknown"`:                          "-",
		`"x-missing"`:                         "-",
		`"x-list"`:                            "a, b, c",
		`"x-list";bs`:                         ":YQ==:, :YiwgYw==:",
		`"x-bin";bs`:                          ":Af8=:",
		`"x-odd"`:                             "-", // not ASCII
		`"x-empty"`:                           "",
		`"x-dict";key="a"`:                    "1",
		`"x-dict";key="b"`:                    "(1 2);x",
		`"x-dict";key="c"`:                    "?1",
		`"x-dict";key="d"`:                    "-",
		`"x-twice";key="a"`:                   "-",
		`"x-list";sf`:                         "-", // of a type that nobody knows
		`"x-odd";key="a"`:                     "-",
		`"content-digest";sf`:                 "sha-256=:AAAA:, md5=:AAAA:",
		`"content-digest";sf;key="md5"`:       ":AAAA:",
		`"client-cert";sf`:                    ":AAAA:",
		`"client-cert-chain";sf`:              ":AAAA:, :BBBB:",
		`"client-cert-chain";key="something"`: "-",
	} {
		t.Run(component, func(t *testing.T) {
			all, err := Parse([]string{"a=(" + component + ")"}, []string{"a=:AAAA:"})
			if err != nil {
				t.Fatal(err)
			}
			base, err := all[0].Base(message)
			got := strings.TrimSuffix(strings.TrimPrefix(string(base), component+": "), "\n\"@signature-params\": ("+component+")")
			if err != nil {
				got = "-"
			}
			if got != want || err != nil && !errors.Is(err, ErrComponent) {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

// TestAuthorityPort keeps a port that is not the default one.
func TestAuthorityPort(t *testing.T) {
	for _, c := range [][3]string{
		{"https", "a.example:443", "a.example"},
		{"http", "a.example:80", "a.example"},
		{"https", "a.example:80", "a.example:80"},
		{"http", "[2001:db8::1]:8080", "[2001:db8::1]:8080"},
		{"other", "a.example:443", "a.example:443"},
	} {
		if got := (&Message{Scheme: c[0], Authority: c[1]}).authority(); got != c[2] {
			t.Errorf("%s://%s: %s", c[0], c[1], got)
		}
	}
}
