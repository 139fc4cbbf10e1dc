// Package config turns configuration files into typed values that know where
// they were written.
//
//	c, err := config.Load("pithead.yaml")
//	if err != nil {
//		return err // an Errors: everything that is wrong, each with file:line:column
//	}
//	for _, r := range c.Routes {
//		if !good(r) {
//			return c.Errorf(&r.To, "no such thing as %q", r.To)
//		}
//	}
//
// Load is Read, which gathers the bytes, and Parse, which does the rest: a guard
// against what is no reasonable file, the YAML syntax tree, the expansion of
// ${NAME} and ${file:/path}, a strict decoder that collects all mistakes, and the
// checks that need no knowledge of plug-ins. What a plug-in is told stays a
// [Block] until the one who knows its type decodes it.
//
// Nothing here runs: no socket is opened and no certificate is read.
package config

import (
	"embed"

	"github.com/pithead/pithead/gateway/kind"
)

//go:embed *.go
var source embed.FS

// Docs are the doc comments of the types of this package, the descriptions of
// the settings.
func Docs() (kind.Docs, error) { return kind.ReadDocs(source) }
