package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

// referenceCommand writes docs/reference. It is for `make generate`.
func referenceCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reference DIR", Hidden: true, Short: "Write the reference pages into DIR", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for name, page := range map[string]func(*cobra.Command) (string, error){
				"settings.md": settingsPage, "kinds.md": kindsPage, "metrics.md": metricsPage, "commands.md": commandsPage,
			} {
				text, err := page(cmd.Root())
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

const generated = "<!-- written by `make generate`; edit the comments in the code -->\n\n"

func settingsPage(*cobra.Command) (string, error) {
	docs, err := config.Docs()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(generated + "# Settings\n\nEvery setting of process files and route files. `*` stands for a name of your choice, `[]` for an entry of a list. " +
		"Durations are written `250ms`, `10s`, `5m`; sizes `64KiB`, `10MiB`. `${NAME}`, `${NAME:-default}` and `${file:/path}` are expanded in values when a file is loaded.\n")
	writeSettings(&b, config.Describe(reflect.TypeFor[config.Root](), nil, docs))
	return b.String(), nil
}

func kindsPage(*cobra.Command) (string, error) {
	kinds, err := build.Kinds()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(generated + "# Middlewares, sources and policies\n")
	table := ""
	for _, k := range kinds {
		if k.Table != table {
			table = k.Table
			fmt.Fprintf(&b, "\n## %s\n", map[string]string{
				"middleware": "Middlewares", "discovery source": "Sources", "balancing policy": "Policies",
			}[table])
		}
		prose, example := kind.Example(k.Docs[k.Type.Name()])
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", k.Name, sentence(prose, k.Type.Name()))
		if example != "" {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", example)
		}
		writeSettings(&b, config.Describe(k.Type, k.Defaults, k.Docs))
	}
	return b.String(), nil
}

// sentence makes a doc comment a text that begins without the type's name.
func sentence(prose, typeName string) string {
	text := strings.TrimPrefix(prose, typeName+" ")
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func writeSettings(b *strings.Builder, settings []config.Setting) {
	if len(settings) == 0 {
		return
	}
	b.WriteString("\n| setting | type | default | |\n|---|---|---|---|\n")
	for _, s := range settings {
		value := "`" + s.Default + "`"
		switch {
		case s.Required:
			value = "required"
		case s.Default == "":
			value = ""
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", s.Name, s.Type, cell(value), cell(s.Doc))
	}
}

// cell makes a text fit into a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
}

func metricsPage(*cobra.Command) (string, error) {
	var b strings.Builder
	b.WriteString(generated + "# Metrics\n\nLabel values come from the configuration or from fixed lists, so that no client can make series. " +
		"Beside these there are the Go and process metrics of the Prometheus client.\n\n| metric | type | labels | |\n|---|---|---|---|\n")
	for _, m := range obs.Reference() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, strings.Join(m.Labels, ", "), cell(m.Help))
	}
	return b.String(), nil
}

func commandsPage(root *cobra.Command) (string, error) {
	var b strings.Builder
	b.WriteString(generated + "# Commands\n")
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		long := c.Long
		if long == "" {
			long = c.Short + "."
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```\n%s\n```\n", c.Name(), long, strings.TrimSpace(c.UseLine()))
		if flags := c.NonInheritedFlags().FlagUsages(); flags != "" {
			fmt.Fprintf(&b, "\n```\n%s```\n", flags)
		}
	}
	return b.String(), nil
}
