// Package transcode turns REST requests into gRPC calls and their answers back.
// It knows descriptors, OpenAPI documents, paths and metadata; the bytes of
// messages are the business of package wire.
//
//	schema, err := transcode.CompileProtos(ctx, []string{"orders.proto"}, []string{"."})
//	doc, err := transcode.ReadDocument("orders.yaml")
//	table, err := transcode.Bind(doc, schema, transcode.Options{})
//	call, vars, allow := table.Match("GET", "/v1/orders/7")
//
// A Table never changes. It keeps what it was made of, each binding with its
// place in the document or the descriptors, for tools that look at more than one
// request: Table.Bindings, Table.Unbound, Table.Document, Table.Schema.
package transcode
