// Package configs holds runnable example configurations. Every file is loaded
// by a test; demo.yaml and demo-consul.yaml are what `pithead demo` runs.
package configs

import "embed"

// Files are the examples.
//
//go:embed *.yaml routes.d/*.yaml
var Files embed.FS

// GRPC is the folder grpc: the contract of the gRPC service of the demo.
//
//go:embed grpc
var GRPC embed.FS
