package middleware

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/pithead/pithead/gateway/kind"
)

// maxAccounts bounds a file of keys or passwords; the server watches none that is larger.
const maxAccounts = 8 << 20

// maxFileMistakes is how many mistakes of a file are told at once.
const maxFileMistakes = 10

// readAccounts reads a file of keys or passwords.
func readAccounts(path string) ([]byte, error) { return kind.ReadFile(path, maxAccounts) }

// eachAccount has add take in each line of a file that is neither empty nor a comment, and
// tells where the first mistakes are.
func eachAccount(file string, text []byte, add func(line []byte) error) (errs []error) {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := add(line); err != nil && len(errs) < maxFileMistakes {
			errs = append(errs, kind.At("file", "%s:%d: %w", file, n, err))
		}
	}
	return errs
}

// parseAccount reads a line that holds one JSON object.
func parseAccount(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value in a line")
	}
	return nil
}

// validateAccount checks what a key says of whoever holds it.
func validateAccount(id, subject string, meta map[string]string) error {
	var errs []error
	if id == "" || !isVisible(id) {
		errs = append(errs, kind.At("id", "%q is no id; write printable ASCII", id))
	}
	if !isVisible(subject) {
		errs = append(errs, kind.At("subject", "%q cannot stand in a header; write printable ASCII", subject))
	}
	for _, name := range sortedKeys(meta) {
		switch {
		case name == "id" || name == "subject":
			errs = append(errs, kind.At("meta."+name, "is a setting of the key itself"))
		case !isVisible(meta[name]):
			errs = append(errs, kind.At("meta."+name, "%q cannot stand in a header; write printable ASCII", meta[name]))
		}
	}
	return errors.Join(errs...)
}

// oneLine has all mistakes of a line of a file told in one line.
func oneLine(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// fileKey is the key of what was made of a file's content.
func fileKey(kind, path string, text []byte) string {
	sum := sha256.Sum256(text)
	return kind + "/" + path + "/" + hex.EncodeToString(sum[:])
}
