package discovery

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/pithead/pithead/gateway"
)

// A target needs four levels of brackets, or dashes on one line, or indentation;
// the parser takes 630 MB for 20,000 of them.
const (
	fileDepth  = 16
	fileIndent = 128
)

var errNested = errors.New("parse endpoints: the file is nested too deeply")

// parseFile reads the list of targets.
func parseFile(text []byte) ([]gateway.Target, error) {
	if err := guardFile(text); err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, fmt.Errorf("parse endpoints: %s", yaml.FormatError(err, false, false))
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, errors.New("parse endpoints: the file must hold one list of targets")
	}
	list, err := targetList(file.Docs[0].Body)
	if err != nil {
		return nil, err
	}
	if len(list.Values) > maxTargets {
		return nil, fmt.Errorf("parse endpoints: %d targets are more than %d", len(list.Values), maxTargets)
	}
	configs := make([]TargetConfig, len(list.Values))
	for i, node := range list.Values {
		if err := decodeTarget(node, &configs[i]); err != nil {
			return nil, err
		}
	}
	targets, err := parseTargets("targets", configs)
	if err != nil {
		return nil, err
	}
	// A list without a target is likelier to be a file that was cut off than a
	// service without instances.
	if len(targets) == 0 {
		return nil, errors.New("parse endpoints: the list of targets is empty")
	}
	return targets, nil
}

// targetList accepts the list alone or below the key `targets`.
func targetList(node ast.Node) (*ast.SequenceNode, error) {
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) == 1 && m.Values[0].Key.GetToken().Value == "targets" {
		node = m.Values[0].Value
	}
	if list, ok := node.(*ast.SequenceNode); ok {
		return list, nil
	}
	return nil, nodeError(node, "want a list of targets, or a mapping with the one key targets")
}

// decodeTarget allows the two forms of a target and nothing else, so that no
// alias, anchor or merge key can make a small file large.
func decodeTarget(node ast.Node, into *TargetConfig) error {
	switch n := node.(type) {
	case *ast.StringNode:
		return into.UnmarshalText([]byte(n.Value))
	case *ast.MappingNode:
		// A type without methods, because the library would insist on text.
		type target TargetConfig
		if err := yaml.NodeToValue(n, (*target)(into), yaml.Strict()); err != nil {
			return fmt.Errorf("parse endpoints: %s", yaml.FormatError(err, false, false))
		}
		return nil
	default:
		return nodeError(node, "want host:port or a mapping with address")
	}
}

func nodeError(node ast.Node, msg string) error {
	pos := node.GetToken().Position
	return fmt.Errorf("parse endpoints: [%d:%d] %s", pos.Line, pos.Column, msg)
}

// guardFile refuses what the parser should not see.
func guardFile(text []byte) error {
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return errors.New("parse endpoints: the file is not UTF-8 text")
	}
	for line := range bytes.Lines(text) {
		rest := bytes.TrimLeft(line, " \t")
		if len(line)-len(rest) > fileIndent {
			return errNested
		}
		for n := 0; len(rest) > 1 && rest[1] == ' ' && bytes.IndexByte([]byte("-?:"), rest[0]) >= 0; n++ {
			if n == fileDepth {
				return errNested
			}
			rest = bytes.TrimLeft(rest[1:], " \t")
		}
	}
	depth := 0
	for _, c := range text {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > fileDepth {
			return errNested
		}
	}
	return nil
}
