package config

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// ageOf has the form of a file of age, with a value of n bytes.
func ageOf(n int, mark byte) string {
	payload := strings.Repeat(string(mark), 16+n+16*((n+64<<10-1)/(64<<10)))
	return "age:" + base64.StdEncoding.EncodeToString([]byte("age-encryption.org/v1\n-> X25519 a\nb\n--- mac\n"+payload))
}

// openers opens what it has been told, and counts.
type openers struct {
	mu       sync.Mutex
	values   map[string]string
	asked    map[string]int
	settings Secrets
}

func (o *openers) opening(s Secrets) gateway.Opener {
	o.settings, o.asked = s, make(map[string]int)
	return o
}

func (o *openers) Open(_ context.Context, sealed string) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked[sealed]++
	value, ok := o.values[sealed]
	if !ok {
		return nil, errors.New("cannot be opened")
	}
	return []byte(value), nil
}

const ending = "\nupstreams: {a: {discover: {static: {targets: [\"127.0.0.1:1\"]}}}}\nroutes: [{match: {prefix: /}, to: a}]\n"

func TestSealedValues(t *testing.T) {
	one, two, odd := ageOf(12, 'x'), ageOf(4, 'y'), ageOf(3, 'z')
	o := &openers{values: map[string]string{one: "s3cret-token", two: "json", odd: "\xff\xfe\x00"}}
	text := func(admin, format string) []byte {
		return []byte("secrets: {age: {identity_file: id.txt}}\nadmin: {token: \"" + admin + "\"}\naccess_log: {format: \"" + format + "\"}" + ending)
	}
	good := text("${sealed:"+one+"}", "${sealed:"+two+"}")
	c, err := ParseOpened(t.Context(), FilesOf("dir/p.yaml", good), o.opening)
	if err != nil {
		t.Fatal(err)
	}
	if c.Admin.Token.Reveal() != "s3cret-token" || c.AccessLog.Format != "json" || o.settings.Age.IdentityFile != "dir/id.txt" {
		t.Errorf("%q, %+v, %+v", c.Admin.Token.Reveal(), c.AccessLog, o.settings)
	}
	if shown := string(c.Redacted()); strings.Contains(shown, "s3cret") || !strings.Contains(shown, "${sealed:"+one+"}") {
		t.Errorf("shown is\n%s", shown)
	}
	if msg := c.Errorf(&c.Admin.Token, "the token s3cret-token is bad").Error(); strings.Contains(msg, "s3cret") {
		t.Errorf("told is %s", msg)
	}
	broken := text("x${sealed:"+one[:40]+" "+one[40:]+"}y${sealed:"+one+"}", "text")
	if c, err := ParseOpened(t.Context(), FilesOf("p.yaml", broken), o.opening); err != nil || c.Admin.Token != "xs3cret-tokenys3cret-token" || o.asked[one] != 1 {
		t.Errorf("in pieces, and twice: %v after %v", err, o.asked)
	}
	for name, f := range map[string]struct {
		admin, format string
		want          []string
	}{
		"unknown":     {"${sealed:" + ageOf(5, 'u') + "}", "json", []string{"2:16: the sealed value cannot be opened"}},
		"no text":     {"${sealed:" + odd + "}", "json", []string{"2:16: the sealed value holds no valid text"}},
		"no form":     {"${sealed:age:AAAA}", "${sealed:gpg:AAAA}", []string{"2:16: the sealed value is no file of age in base64", "3:22: the sealed value is no sealed value; want age: or vault: and what `pithead secret seal` prints"}},
		"a bad value": {"token", "${sealed:" + one + "}", []string{`3:22: "${sealed:...}" is not known here; known are json, text`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseOpened(t.Context(), FilesOf("p.yaml", text(f.admin, f.format)), o.opening)
			var got []string
			errs, _ := errors.AsType[Errors](err)
			for _, e := range errs {
				got = append(got, fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg))
			}
			if diff := cmp.Diff(f.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := Parse(FilesOf("p.yaml", good)); err == nil || !strings.Contains(err.Error(), "sealed values are not opened here") {
		t.Errorf("without an opener: %v", err)
	}
	nested := strings.Replace(string(good), "id.txt", "'${sealed:"+one+"}'", 1)
	if _, err := ParseOpened(t.Context(), FilesOf("p.yaml", []byte(nested)), o.opening); err == nil || !strings.Contains(err.Error(), "p.yaml:1:") {
		t.Errorf("secrets that are sealed: %v", err)
	}
}

// TestSealedClosed checks files without anybody who could open what is in them.
func TestSealedClosed(t *testing.T) {
	vault := "vault:v3:" + base64.StdEncoding.EncodeToString(make([]byte, 12+7+16))
	text := "admin: {token: \"${sealed:" + ageOf(40, 'x') + "}\", address: \"${sealed:" + vault + "}\"}" + ending
	c, err := ParseClosed(FilesOf("p.yaml", []byte(text)))
	if err != nil || c.Unchecked() != 2 || len(c.Admin.Token.Reveal()) != 40 {
		t.Fatalf("%v", err) // that the address is none cannot be known
	}
	again, err := ParseClosed(FilesOf("p.yaml", []byte(text)))
	if err != nil || again.Admin.Token == c.Admin.Token {
		t.Errorf("what stands for a secret can be guessed: %v", err)
	}
	if e := c.Errorf(&c.Admin.Address, "is bad"); !c.Closed(Errors{e}) || c.Closed(Errors{c.Errorf(&c.Routes, "are bad")}) || c.Closed(nil) {
		t.Error("mistakes of closed values are not told from others")
	}
	for _, bad := range []string{"vault:v1:", "vault:x1:AAAA", "vault:v:AAAA", "vault:v1:!", "age:", ageOf(0, 'x')[:60]} {
		_, err := ParseClosed(FilesOf("p.yaml", []byte("admin: {token: \"${sealed:"+bad+"}\"}"+ending)))
		if err == nil || !strings.Contains(err.Error(), "p.yaml:1:16: the sealed value is") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, n := range []int{0, 1, 64 << 10, 64<<10 + 1, 200_000} {
		if got, err := lengthOf(ageOf(n, 'x')); n > 0 && (got != n || err != nil) {
			t.Errorf("%d bytes are %d, %v", n, got, err)
		}
	}
}

func TestSecretsMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"vault: {key: k, token: t}":                                                      "has no address",
		"vault: {address: \"https://v\", key: k}":                                        "needs either token or token_file",
		"vault: {address: \"https://v\", token: t, token_file: f, key: k}":               "needs either token or token_file",
		"vault: {address: \"https://v\", token: t}":                                      "names no key",
		"vault: {address: \"http://v.example.com\", token: t, key: k}":                   "sends the token in the clear",
		"vault: {address: \"ftp://v\", token: t, key: k}":                                "is no address of Vault",
		"vault: {address: \"https://u@v\", token: t, key: k}":                            "is no address of Vault",
		"vault: {address: \"https://v\", token: t, key: a/b}":                            "is no name of a key",
		"vault: {address: \"https://v\", token: t, key: k, mount: /}":                    "is no path of an engine",
		"vault: {address: \"https://v\", token: t, key: k, retries: 11}":                 "is not between 0 and 10",
		"vault: {address: \"http://127.0.0.1:8200\", token: t, key: k, timeout: 250ms}":  "",
		"vault: {address: \"http://localhost:8200\", token: t, key: k, namespace: edge}": "",
	} {
		_, err := Parse(FilesOf("p.yaml", []byte("secrets: {"+text+"}"+ending)))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
