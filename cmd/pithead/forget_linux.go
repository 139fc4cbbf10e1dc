package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// forgetStart gives back the pages of the program's own file that are mapped: most
// of them only the start needed, and they are two thirds of the resident memory of
// an idle gateway. They stay in the system's page cache, from which those that are
// still in use come back at the next step into them, at a few microseconds for each.
func forgetStart() error {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("pages of the start are kept: %w", err)
	}
	defer f.Close()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("pages of the start are kept: %w", err)
	}
	areas, err := cleanAreas(f, exe)
	if err != nil {
		return fmt.Errorf("pages of the start are kept: %w", err)
	}
	for _, a := range areas {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, a.start, a.size, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("pages of the start are kept: %w", errno)
		}
	}
	return nil
}

// area is a range of addresses.
type area struct{ start, size uintptr }

// cleanAreas finds in smaps where file is mapped and nothing can have been written:
// neither by the program, nor by a debugger or a probe, whose breakpoints are
// private copies of a page and count as anonymous.
func cleanAreas(smaps io.Reader, file string) (areas []area, err error) {
	var at area
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"):
			at = area{}
			if len(fields) != 6 || fields[5] != file || strings.Contains(fields[1], "w") {
				continue
			}
			var end uintptr
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &at.start, &end); err != nil {
				return nil, fmt.Errorf("line %q of smaps: %w", lines.Text(), err)
			}
			at.size = end - at.start
		case fields[0] == "Anonymous:" && fields[1] == "0" && at.size > 0:
			areas = append(areas, at)
		}
	}
	return areas, lines.Err()
}
