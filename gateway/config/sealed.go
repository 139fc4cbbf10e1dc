package config

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pithead/pithead/gateway"
)

// Opening makes what opens the sealed values of a configuration out of its
// settings.
type Opening func(Secrets) gateway.Opener

const (
	sealedPrefix = "sealed:"
	maxOpening   = 8                // values that are opened at once
	openingTime  = 30 * time.Second // for all of them together
)

var errNotOpened = errors.New("is a sealed value, and sealed values are not opened here")

// ParseOpened is Parse for files with sealed values in them, which are opened. What
// cannot be opened is a mistake at the place where it stands.
func ParseOpened(ctx context.Context, f *Files, opening Opening) (*Config, error) {
	f.parse()
	sealed := f.sealed()
	if len(sealed) == 0 {
		return f.decode(nil, false)
	}
	settings, err := SecretsOf(f)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openingTime)
	defer cancel()
	opened := openAll(ctx, opening(settings), sealed)
	return f.decode(func(name string) (string, error) {
		one := opened[name]
		return one.text, one.err
	}, false)
}

// ParseClosed is Parse for looking at files whose sealed values nobody here can
// open. Their form is checked. Others of the same length stand for them, and mistakes
// that are found in those are none: Unchecked says how many settings there are.
func ParseClosed(f *Files) (*Config, error) {
	f.parse()
	return f.decode(standIn, true)
}

// Closed says whether mistakes are only of values that ParseClosed has left closed.
func (c *Config) Closed(errs Errors) bool {
	return len(errs) > 0 && len(c.doc.certain(slices.Clone(errs))) == 0
}

// Unchecked is the number of settings that ParseClosed has left closed.
func (c *Config) Unchecked() int { return len(c.doc.closed) }

// SecretsOf reads the settings under `secrets` alone, which are needed to read all
// others.
func SecretsOf(f *Files) (s Secrets, err error) {
	setDefaults(reflect.ValueOf(&s).Elem())
	file := f.files[0]
	doc := newDocument(f.files, nil)
	tree, errs := file.resolve(doc.expand)
	if tree == nil || tree.get("secrets") == nil {
		return s, nil
	}
	own := tree.get("secrets")
	d := decoder{doc: doc, failed: make(map[string]bool), path: []string{"secrets"}}
	d.value(reflect.ValueOf(&s).Elem(), slot{node: own})
	own.walk(func(n *node) { // an expansion that failed is told by it
		for _, e := range errs {
			if e.Line == n.at.line && e.Column == n.at.column {
				d.errs = append(d.errs, e)
			}
		}
	})
	return s, doc.finish(d.errs).asError()
}

// sealed lists the sealed values of all files, each of them once.
func (f *Files) sealed() (all []string) {
	seen := make(map[string]bool)
	for _, s := range f.files {
		if s.tree == nil || !bytes.Contains(s.data, []byte("${"+sealedPrefix)) {
			continue
		}
		s.tree.walk(func(n *node) {
			if n.kind != scalarNode {
				return
			}
			for _, name := range sealedIn(n.raw) {
				if !seen[name] {
					seen[name] = true
					all = append(all, name)
				}
			}
		})
	}
	return all
}

// sealedIn finds the sealed values of a scalar as its expansion will.
func sealedIn(raw string) (all []string) {
	for {
		_, after, found := strings.Cut(raw, "$")
		if !found {
			return all
		}
		raw = after
		if strings.HasPrefix(after, "$") {
			raw = after[1:]
		} else if name, behind, closed := strings.Cut(after, "}"); closed && strings.HasPrefix(name, "{") {
			raw = behind
			if name, ok := strings.CutPrefix(name[1:], sealedPrefix); ok {
				all = append(all, compact(name))
			}
		}
	}
}

// compact takes out the white space by which a long value may be broken into lines.
func compact(name string) string { return strings.Join(strings.Fields(name), "") }

type opened struct {
	text string
	err  error
}

// openAll opens several values at a time.
func openAll(ctx context.Context, opener gateway.Opener, names []string) map[string]opened {
	all := make(map[string]opened, len(names))
	var mu sync.Mutex
	var workers sync.WaitGroup
	next := make(chan string)
	for range min(maxOpening, len(names)) {
		workers.Go(func() {
			for name := range next {
				one := open(ctx, opener, name)
				mu.Lock()
				all[name] = one
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	workers.Wait()
	return all
}

func open(ctx context.Context, opener gateway.Opener, name string) opened {
	if _, err := lengthOf(name); err != nil {
		return opened{err: err}
	}
	data, err := opener.Open(ctx, name)
	switch {
	case err != nil:
		return opened{err: err}
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return opened{err: errors.New("holds no valid text")}
	}
	return opened{text: string(data)}
}

// standIn is a text of the length that a sealed value has. It is random, so that
// nobody can guess it should it ever get where a secret belongs.
func standIn(name string) (string, error) {
	n, err := lengthOf(name)
	if err != nil {
		return "", err
	}
	return strings.Repeat(rand.Text(), n/26+1)[:n], nil
}

const ageIntro = "age-encryption.org/v1\n"

// lengthOf checks the form of a sealed value, and says how long what is in it is.
func lengthOf(name string) (int, error) {
	const badForm = "is no sealed value; want age: or vault: and what `pithead secret seal` prints"
	scheme, rest, _ := strings.Cut(name, ":")
	switch scheme {
	case "age":
		data, err := base64.StdEncoding.DecodeString(rest)
		if err != nil || !bytes.HasPrefix(data, []byte(ageIntro)) {
			return 0, errors.New("is no file of age in base64")
		}
		_, mac, found := bytes.Cut(data, []byte("\n--- "))
		_, payload, ended := bytes.Cut(mac, []byte("\n"))
		const nonce, chunk, tag = 16, 64<<10 + 16, 16
		if n := len(payload) - nonce; found && ended && n >= tag {
			return n - (n+chunk-1)/chunk*tag, nil
		}
		return 0, errors.New("is a file of age that has been cut off")
	case "vault":
		version, text, _ := strings.Cut(rest, ":")
		data, err := base64.StdEncoding.DecodeString(text)
		if len(version) < 2 || version[0] != 'v' || strings.Trim(version[1:], "0123456789") != "" || err != nil || len(data) == 0 {
			return 0, errors.New("is no ciphertext of Vault: want vault:v1: and base64")
		}
		const nonce, tag = 12, 16
		return max(0, len(data)-nonce-tag), nil
	}
	return 0, errors.New(badForm)
}

// unsealed is the value of a reference to a sealed one, whose name follows `sealed:`.
func (n *node) unsealed(name string, open func(string) (string, error)) (string, error) {
	if open == nil {
		return "", fmt.Errorf("${sealed:%.4s...} %w", name, errNotOpened)
	}
	text, err := open(compact(name))
	if err != nil {
		return "", fmt.Errorf("the sealed value %w", err)
	}
	return text, nil
}
