// Package testpb holds the messages that the codec is tested with.
package testpb

//go:generate go run generate.go
