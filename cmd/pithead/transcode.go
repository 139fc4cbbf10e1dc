package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/transcode"
)

func transcodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "transcode", Short: "Tools for REST in front of gRPC"}
	cmd.AddCommand(transcodeCheckCommand())
	return cmd
}

// transcodeFlags are what beside the two files a check can be told.
type transcodeFlags struct {
	against, format string
	imports         []string
	options         transcode.Options
}

func transcodeCheckCommand() *cobra.Command {
	var f transcodeFlags
	cmd := &cobra.Command{
		Use:   "check SPEC DESCRIPTORS",
		Short: "Compare an OpenAPI document with the descriptors of a gRPC service",
		Long: `Check compares SPEC, an OpenAPI document, with DESCRIPTORS: a .proto file, or
a FileDescriptorSet with all imports. It tells, each with its place:

  unmapped_operation   an operation that names no method
  no_operation         a method that no operation calls
  type_clash           a type that no value has on both sides
  lossy_number         numbers of one side that the other cannot hold
  required             what one side requires and the other may leave out
  enum                 values that only one side has
  unknown_field        members that the message does not have
  breaking_change      with --against: what clients of earlier descriptors would miss

Exit status 1 means that there are errors, which a start with grpc_transcode would
refuse too, or breaking changes; 2 means that there are only warnings. With
--format json it writes one object to standard output: ok, and the lists mistakes
and findings, whose entries have file, line, column, rule and message.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.format != formatText && f.format != formatJSON {
				return fmt.Errorf("--format %s is not known; write text or json", f.format)
			}
			found, err := f.check(cmd, args[0], args[1])
			return f.tell(cmd, found, err)
		},
	}
	cmd.Flags().StringVar(&f.against, "against", "", "earlier descriptors, to find breaking changes")
	cmd.Flags().StringArrayVar(&f.imports, "import-path", nil, "folder that imports of .proto files start at; default: that of the file")
	cmd.Flags().StringVar(&f.format, "format", formatText, "text or json")
	cmd.Flags().BoolVar(&f.options.DiscardUnknown, "discard-unknown", false, "as discard_unknown of the route")
	cmd.Flags().BoolVar(&f.options.EmitDefaults, "emit-defaults", false, "as emit_defaults of the route")
	cmd.Flags().BoolVar(&f.options.EnumNumbers, "enum-numbers", false, "as enum_numbers of the route")
	return cmd
}

func (f *transcodeFlags) check(cmd *cobra.Command, spec, descriptors string) ([]transcode.Finding, error) {
	doc, docErr := transcode.ReadDocument(spec)
	schema, err := f.schema(cmd, descriptors)
	if err := errors.Join(docErr, err); err != nil {
		return nil, err
	}
	var found []transcode.Finding
	if f.against != "" {
		earlier, err := f.schema(cmd, f.against)
		if err != nil {
			return nil, err
		}
		found = transcode.Compare(earlier, schema)
	}
	table, err := transcode.Bind(doc, schema, f.options)
	if err != nil {
		return found, err
	}
	return append(transcode.Lint(table), found...), nil
}

func (f *transcodeFlags) schema(cmd *cobra.Command, path string) (*transcode.Schema, error) {
	if filepath.Ext(path) == ".proto" {
		return transcode.CompileProtos(cmd.Context(), []string{path}, f.imports, nil)
	}
	return transcode.ReadSet(path)
}

// tell writes what was found, and says so by the exit status.
func (f *transcodeFlags) tell(cmd *cobra.Command, found []transcode.Finding, err error) error {
	failed := err != nil
	for _, one := range found {
		failed = failed || one.Error
	}
	if f.format == formatJSON {
		if err := findingsJSON(cmd, found, err, !failed); err != nil {
			return err
		}
	} else {
		if err != nil {
			cmd.PrintErrln(err)
		}
		for _, one := range found {
			severity := "warning"
			if one.Error {
				severity = "error"
			}
			cmd.Printf("%s: %s: %s (%s)\n", one.Pos, severity, one.Message, one.Rule)
		}
	}
	switch {
	case failed:
		return errSaid
	case len(found) > 0:
		return errFound
	}
	return nil
}

func findingsJSON(cmd *cobra.Command, found []transcode.Finding, err error, ok bool) error {
	out := checked{OK: ok, Mistakes: []placed{}, Warnings: []placed{}, Findings: []placed{}}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			out.Mistakes = append(out.Mistakes, placedLine(strings.TrimSpace(line)))
		}
	}
	for _, one := range found {
		at := placed{File: one.Pos.File, Line: one.Pos.Line, Column: one.Pos.Column, Rule: one.Rule, Message: one.Message}
		if one.Error {
			out.Findings = append(out.Findings, at)
		} else {
			out.Warnings = append(out.Warnings, at)
		}
	}
	write := json.NewEncoder(cmd.OutOrStdout())
	write.SetIndent("", "  ")
	write.SetEscapeHTML(false)
	return write.Encode(out)
}

var placeOfLine = regexp.MustCompile(`^(.+?):(\d+):(\d+): (.*)$`)

// placedLine takes the place at the beginning of a line apart.
func placedLine(line string) placed {
	m := placeOfLine.FindStringSubmatch(line)
	if m == nil {
		return placed{Message: line}
	}
	row, _ := strconv.Atoi(m[2]) // digits; a number too large is no place
	column, _ := strconv.Atoi(m[3])
	return placed{File: m[1], Line: row, Column: column, Message: cmp.Or(m[4], line)}
}
