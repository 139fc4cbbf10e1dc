//go:build !linux

package main

// probeRole is for Linux.
func probeRole() {}
