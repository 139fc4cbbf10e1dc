package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/kind"
)

func kindsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kinds [NAME]",
		Short: "List the middlewares, sources and policies, or show the settings of one",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			kinds, err := build.Kinds()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return kindNames(kinds), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			kinds, err := build.Kinds()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return listKinds(cmd, kinds)
			}
			found := false
			for _, k := range kinds {
				if k.Name == args[0] {
					found = true
					cmd.Print(kindText(k))
				}
			}
			if !found {
				return fmt.Errorf("no kind %q%s", args[0], config.Suggest(args[0], kindNames(kinds)))
			}
			return nil
		},
	}
}

func kindNames(kinds []config.KindInfo) []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func listKinds(cmd *cobra.Command, kinds []config.KindInfo) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, k := range kinds {
		prose, _ := kind.Example(k.Docs[k.Type.Name()])
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", k.Name, k.Table, firstSentence(prose, k.Type.Name())); err != nil {
			return err
		}
	}
	return w.Flush()
}

// firstSentence cuts the first sentence out of a doc comment, without the name
// of the type that it begins with.
func firstSentence(prose, typeName string) string {
	text := strings.Join(strings.Fields(prose), " ")
	text = strings.TrimPrefix(text, typeName+" ")
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i+1]
	}
	return text
}

// kindText is what there is to know of a kind.
func kindText(k config.KindInfo) string {
	prose, example := kind.Example(k.Docs[k.Type.Name()])
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)\n\n%s\n", k.Name, k.Table, sentence(prose, k.Type.Name()))
	if example != "" {
		fmt.Fprintf(&b, "\nExample:\n\n  %s\n", strings.ReplaceAll(example, "\n", "\n  "))
	}
	settings := config.Describe(k.Type, k.Defaults, k.Docs)
	if len(settings) > 0 {
		b.WriteString("\nSettings:\n")
	}
	for _, s := range settings {
		fmt.Fprintf(&b, "\n  %s: %s\n      %s\n", s.Name, typeAndDefault(s), strings.ReplaceAll(s.Doc, "\n", "\n      "))
	}
	return b.String()
}

func typeAndDefault(s config.Setting) string {
	switch {
	case s.Required:
		return s.Type + ", required"
	case s.Default != "":
		return s.Type + ", default " + s.Default
	default:
		return s.Type
	}
}
