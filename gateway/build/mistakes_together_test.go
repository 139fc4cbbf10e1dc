package build

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

// damage is a place of a text and what to write there instead.
type damage struct {
	line, column, length int
	text                 string
}

// damaged is the text with some of it replaced.
func damaged(text string, all ...damage) string {
	lines := strings.Split(text, "\n")
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b damage) int { return cmp.Compare(b.column, a.column) }) // from the right
	for _, d := range all {
		l := lines[d.line-1]
		lines[d.line-1] = l[:d.column-1] + d.text + l[d.column-1+d.length:]
	}
	return strings.Join(lines, "\n")
}

// wrongs are what is written in the place of a value.
var wrongs = []string{"{odd: [one]}", "-7", "-7s", `"%zz \u0022{"`}

// toldOf are the mistakes of a text, without their columns, which depend on each other.
func toldOf(name, text string) []string {
	env := Env{Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler), Metrics: obs.NewMetrics(obs.Build{})}
	cfg, err := config.Parse(config.FilesOf(name, []byte(text)))
	if err != nil {
		err = Mistakes(cfg, err, env)
	} else if snap, bad := Compile(cfg, env); bad == nil {
		_ = snap.Close()
	} else {
		err = bad
	}
	errs, _ := errors.AsType[config.Errors](err)
	var all []string
	for _, e := range errs {
		all = append(all, fmt.Sprintf("%d: %s", e.Line, e.Msg))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// valuesIn are the scalars from a line on that are no keys and no entries of `use`.
func valuesIn(text string, from int) (values []damage) {
	for _, tk := range lexer.Tokenize(text) {
		key := tk.Next != nil && tk.Next.Type == token.MappingValueType
		if tk.Position.Line < from || key || strings.ContainsAny(tk.Value, "\n\\") || strings.TrimSpace(tk.Value) == "" ||
			strings.HasPrefix(strings.Split(text, "\n")[tk.Position.Line-1], "    use:") {
			continue
		}
		d := damage{line: tk.Position.Line, column: tk.Position.Column, length: len(strings.TrimSpace(tk.Value))}
		switch tk.Type {
		case token.DoubleQuoteType, token.SingleQuoteType:
			d.length = len(tk.Value) + 2
		case token.StringType, token.IntegerType, token.BoolType, token.FloatType:
		default:
			continue
		}
		values = append(values, d)
	}
	return values
}

// mistake is a damage, and what is told of it.
type mistake struct {
	damage
	told []string
}

// mistakesIn are two for each value that can be wrong: one that is of another type, if
// it can be, and one that is as near to right as it gets.
func mistakesIn(name, text string, from int) (all []mistake) {
	for _, d := range valuesIn(text, from) {
		var of []mistake
		for _, wrong := range wrongs {
			d.text = strings.Replace(wrong, "%zz", fmt.Sprintf("%%zz%d-%d", d.line, d.column), 1)
			if told := toldOf(name, damaged(text, d)); len(told) > 0 {
				of = append(of, mistake{d, told})
			}
		}
		if len(of) > 2 {
			of = []mistake{of[0], of[len(of)-1]}
		}
		all = append(all, of...)
	}
	return all
}

// Two mistakes in one block, of whatever kind, are told as each of them alone would
// be: neither hides the other, and neither is followed by what would not be told
// without it.
func TestMistakesTogether(t *testing.T) {
	kinds, err := Kinds()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("..", "..", "configs", "grpc", "pithead.yaml") // beside the documents that examples name
	pairs := 0
	for _, k := range kinds {
		_, example := kind.Example(k.Docs[k.Type.Name()])
		if example == "" {
			continue // the test's own
		}
		t.Run(k.Table+" "+k.Name, func(t *testing.T) {
			text, from := inPlace(k.Table, example)
			all := mistakesIn(name, text, from)
			if len(all) < 4 {
				t.Fatalf("only %d mistakes can be made", len(all))
			}
			for i, a := range all {
				for _, b := range all[i+1:] {
					if a.line == b.line && a.column == b.column {
						continue
					}
					pairs++
					want := slices.Concat(a.told, b.told)
					slices.Sort(want)
					both := damaged(text, a.damage, b.damage)
					if diff := diffLines(slices.Compact(want), toldOf(name, both)); diff != "" && !oneRule(k.Name, a, b) {
						t.Errorf("%s\n%s", both, diff)
					}
				}
			}
		})
	}
	if pairs < 1500 {
		t.Errorf("only %d pairs were tried", pairs)
	}
}

// oneRule is the exception: without its name a rule of authorize is no rule, so that
// what it says is looked at when it has a good one.
func oneRule(name string, a, b mistake) bool { return name == "authorize" && a.line == b.line }

func diffLines(want, got []string) string {
	if slices.Equal(want, got) {
		return ""
	}
	return fmt.Sprintf("told %q\nwant %q", got, want)
}
