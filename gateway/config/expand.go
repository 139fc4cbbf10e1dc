package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

const maxSecretFile = 1 << 20

// expandAll is expandWith for where sealed values cannot stand.
func expandAll(n *node) error { return expandWith(n, nil) }

// expandWith replaces ${NAME}, ${NAME:-default}, ${file:/path} and ${sealed:...} in a scalar,
// once: what comes out is neither expanded again nor read as YAML. $$ is a
// dollar sign. It happens when a file is loaded and at no other time, because
// values of requests that were expanded have leaked secrets (CVE-2026-30852).
func expandWith(n *node, open func(sealed string) (string, error)) error {
	if !strings.Contains(n.raw, "$") {
		return nil
	}
	var out strings.Builder
	rest := n.raw
	for {
		before, after, found := strings.Cut(rest, "$")
		out.WriteString(before)
		if !found {
			break
		}
		switch {
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			rest = after[1:]
		case strings.HasPrefix(after, "{"):
			name, behind, closed := strings.Cut(after[1:], "}")
			if !closed {
				return errors.New("${ has no closing brace; write $${ for the characters themselves")
			}
			value, err := n.variable(name, open)
			if err != nil {
				return err
			}
			out.WriteString(value)
			n.expanded = true
			if strings.HasPrefix(name, "file:") {
				n.fromFiles = append(n.fromFiles, hidden{value, "${" + name + "}"})
			} else if strings.HasPrefix(name, sealedPrefix) {
				n.fromFiles = append(n.fromFiles, hidden{value, "${sealed:...}"})
				n.sealed = true
			}
			rest = behind
		default:
			out.WriteByte('$')
			rest = after
		}
	}
	n.text = out.String()
	return nil
}

func (n *node) variable(name string, open func(sealed string) (string, error)) (string, error) {
	if sealed, ok := strings.CutPrefix(name, sealedPrefix); ok {
		return n.unsealed(sealed, open)
	}
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		value, err := n.secretFile(path)
		if err != nil {
			return "", fmt.Errorf("${%s}: %w", name, err)
		}
		return value, nil
	}
	name, fallback, hasFallback := strings.Cut(name, ":-")
	if !variableName(name) {
		return "", fmt.Errorf("${%s} is no name of a variable; write $${ for the characters themselves", name)
	}
	value, set := os.LookupEnv(name)
	switch {
	case hasFallback && value == "":
		return fallback, nil
	case !set:
		return "", fmt.Errorf("the environment variable %s is not set; ${%s:-default} gives it a default", name, name)
	case !utf8.ValidString(value) || strings.Contains(value, "\x00"):
		return "", fmt.Errorf("the environment variable %s holds no valid text", name)
	}
	return value, nil
}

// secretFile is the content of a file less one line feed at its end.
func (n *node) secretFile(path string) (string, error) {
	if path == "" {
		return "", errors.New("names no file")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(n.file.dir(), path)
	}
	// A link into /proc would make the process's own memory and environment a
	// value of the configuration.
	for _, tree := range []string{"/proc/", "/sys/", "/dev/"} {
		if strings.HasPrefix(realPath(path), tree) {
			return "", fmt.Errorf("leads into %s", strings.TrimSuffix(tree, "/"))
		}
	}
	data, err := readFile(path, nil)
	if err != nil {
		return "", err
	}
	if len(data) > maxSecretFile {
		return "", fmt.Errorf("is larger than %d MiB", maxSecretFile>>20)
	}
	if !utf8.Valid(data) || strings.Contains(string(data), "\x00") {
		return "", errors.New("holds no valid text")
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		n.exposed = path
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

func variableName(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
