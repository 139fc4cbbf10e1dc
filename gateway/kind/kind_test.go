package kind

import (
	"errors"
	"fmt"
	"testing"
	"testing/fstest"
)

// guardConfig limits something.
type guardConfig struct {
	// Max is the limit.
	Max int
}

var guardSource = fstest.MapFS{
	"guard.go": {Data: []byte("package x\n\n// guardConfig limits something.\n//\n//\tguard: {max: 3}\n//\n// It is new.\n" +
		"type guardConfig struct {\n\t// Max is the limit.\n\tMax int\n\tMin int // least\n}\n")},
	"guard_test.go": {Data: []byte("package x\n\n// wrong\ntype guardConfig struct{}\n")},
}

func guards() *Table[string, string] {
	t := NewTable[string, string]("guard", guardSource)
	Add(t, "guard", guardConfig{Max: 64}, func(c guardConfig, env string) (string, error) {
		if c.Max < 0 {
			return "", At("max", "must not be negative")
		}
		return fmt.Sprint(env, c.Max), nil
	})
	return t
}

func TestTable(t *testing.T) {
	table := guards()
	k, ok := table.Get("guard")
	if !ok || fmt.Sprint(table.Names()) != "[guard]" || table.Noun() != "guard" {
		t.Fatal(table.Names())
	}
	f := func(decode Decoder, want string) {
		t.Helper()
		got := ""
		settings, err := k.Decode(decode)
		if err == nil {
			got, err = settings.Build("e")
		}
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	set := func(n int) Decoder { return func(into any) error { into.(*guardConfig).Max = n; return nil } }
	f(func(any) error { return nil }, "e64")
	f(set(3), "e3")
	f(func(any) error { return nil }, "e64") // one block's settings are not the next one's defaults
	f(set(-1), "max: must not be negative")
	f(func(any) error { return errors.New("line 3") }, "line 3")
	if k.Defaults() != (guardConfig{Max: 64}) || k.Type().Name() != "guardConfig" {
		t.Errorf("defaults %v of type %v", k.Defaults(), k.Type())
	}
	defer func() {
		if recover() == nil {
			t.Error("a second registration is accepted")
		}
	}()
	Add(table, "guard", guardConfig{}, func(guardConfig, string) (string, error) { return "", nil })
}

func TestDocs(t *testing.T) {
	docs, err := ReadDocs(guardSource)
	if err != nil {
		t.Fatal(err)
	}
	if docs["guardConfig.Max"] != "Max is the limit." || docs["guardConfig.Min"] != "least" {
		t.Errorf("%q", docs)
	}
	prose, example := Example(docs["guardConfig"])
	if prose != "guardConfig limits something.\n\n\nIt is new." || example != "guard: {max: 3}" {
		t.Errorf("prose %q, example %q", prose, example)
	}
}

func TestSettingErrors(t *testing.T) {
	whole := errors.New("whole")
	err := errors.Join(At("split.canary", "too much"), fmt.Errorf("wrapped: %w", At("header", "bad")), whole)
	var got []string
	for _, e := range SettingErrors(err) {
		got = append(got, e.Path+"|"+e.Err.Error())
	}
	if want := "[split.canary|too much header|bad |whole]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if SettingErrors(nil) != nil {
		t.Error("nil has errors")
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "500": 500, "500B": 500, "64KiB": 64 << 10, "10MiB": 10 << 20, "1GiB": 1 << 30} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %d, %v", text, s, err)
		}
		var again Size
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%s prints as %s", text, s)
		}
	}
	for _, text := range []string{"", "10MB", "1.5MiB", "-1", "KiB", "10 MiB", "99999999999GiB", "0x10"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
