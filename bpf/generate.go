//go:build linux

package bpf

// The machine code of the programs is committed, so that building needs no clang.
// `make bpf` writes it again; clang 14 writes the same bytes from any folder.
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -strip llvm-strip-14 -target bpfel -tags linux -go-package bpf -output-stem kernel -type event -type row -type hist -type conn kernel kernel/probe.c -- -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
