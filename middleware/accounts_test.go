package middleware

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachAccount(t *testing.T) {
	var taken []string
	text := "# keys\n\n  one\r\nbad\n\t# no key\ntwo"
	errs := eachAccount("keys.jsonl", []byte(text), func(line []byte) error {
		if string(line) == "bad" {
			return errors.New("is bad")
		}
		taken = append(taken, string(line))
		return nil
	})
	if got := strings.Join(taken, ","); got != "one,two" {
		t.Errorf("took %s", got)
	}
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "keys.jsonl:4: is bad") {
		t.Errorf("%v, want the mistake of the fourth line", errs)
	}
	lines := 0
	errs = eachAccount("f", []byte(strings.Repeat("bad\n", 50)), func([]byte) error { lines++; return errors.New("is bad") })
	if len(errs) != maxFileMistakes || lines != 50 {
		t.Errorf("%d mistakes told of %d lines, want %d of 50", len(errs), lines, maxFileMistakes)
	}
}

func TestParseAccount(t *testing.T) {
	for _, tt := range []struct{ line, wrong string }{
		{`{"id": "a"}`, ""},
		{`{"id": "a", "sha": "b"}`, `unknown field "sha"`},
		{`{"id": "a"} {"id": "b"}`, "more than one value"},
		{`{"id": "a"} x`, "more than one value"},
		{`{"id": 1}`, "cannot unmarshal number"},
		{`{"id": "a"`, "unexpected EOF"},
	} {
		var into struct{ ID string }
		err := parseAccount([]byte(tt.line), &into)
		if tt.wrong == "" && (err != nil || into.ID != "a") {
			t.Errorf("%s: %q, %v", tt.line, into.ID, err)
		}
		if tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong) || strings.HasPrefix(err.Error(), "json: ")) {
			t.Errorf("%s: %v, want %q", tt.line, err, tt.wrong)
		}
	}
}

// What a key says goes into headers and into the log.
func TestValidateAccount(t *testing.T) {
	for _, tt := range []struct {
		id, subject string
		meta        map[string]string
		wrong       string
	}{
		{"k1", "shop", map[string]string{"plan": "gold"}, ""},
		{"k1", "", nil, ""},
		{"", "shop", nil, "id: "},
		{"k\n1", "shop", nil, "id: "},
		{"k1", "a\r\nX-Admin: 1", nil, "subject: "},
		{"k1", "shop", map[string]string{"plan": "gold\n"}, "meta.plan: "},
		{"k1", "shop", map[string]string{"subject": "root"}, "meta.subject: "},
	} {
		err := validateAccount(tt.id, tt.subject, tt.meta)
		if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), strings.TrimSuffix(tt.wrong, ": ")) {
			t.Errorf("%q %q %v: %v, want %q", tt.id, tt.subject, tt.meta, err, tt.wrong)
		}
	}
}

func TestReadAccountsIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	for size, fits := range map[int64]bool{maxAccounts: true, maxAccounts + 1: false} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if text, err := readAccounts(path); (err == nil) != fits || fits && int64(len(text)) != size {
			t.Errorf("%d bytes: %d read, %v", size, len(text), err)
		}
	}
}
