package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestForgetStart(t *testing.T) {
	resident := func() int {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if name, value, _ := strings.Cut(line, ":"); name == "RssFile" {
				n, err := strconv.Atoi(strings.Fields(value)[0])
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatal("no RssFile")
		return 0
	}
	before := resident()
	if err := forgetStart(); err != nil {
		t.Fatal(err)
	}
	if after := resident(); after > before*3/4 {
		t.Errorf("%d kB of the program resident, %d before", after, before)
	}
}

func TestCleanAreas(t *testing.T) {
	const smaps = `00400000-00401000 r-xp 00000000 fe:00 12 /bin/pithead
Size:                  4 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
00500000-00503000 r-xp 00000000 fe:00 12 /bin/pithead
Anonymous:             4 kB
00600000-00602000 r--p 00000000 fe:00 12 /bin/pithead
Anonymous:             0 kB
00700000-00702000 rw-p 00000000 fe:00 12 /bin/pithead
Anonymous:             0 kB
00800000-00802000 r--p 00000000 fe:00 13 /lib/libc.so
Anonymous:             0 kB
00900000-00902000 rw-p 00000000 00:00 0
Anonymous:             0 kB
`
	got, err := cleanAreas(strings.NewReader(smaps), "/bin/pithead")
	if want := []area{{0x400000, 0x1000}, {0x600000, 0x2000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%x, %v", got, err)
	}
}
