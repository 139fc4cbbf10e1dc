//go:build !linux

// Command pithead-probe needs Linux.
package main

import "os"

func main() {
	_, _ = os.Stderr.WriteString("pithead-probe: it measures inside the Linux kernel, and this is another system\n")
	os.Exit(4)
}
