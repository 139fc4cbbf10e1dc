// Package grpcweb knows the two protocols that browsers speak in place of gRPC:
// gRPC-Web (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md) and
// Connect (https://connectrpc.com/docs/protocol). Both carry the messages of gRPC
// as they are; what differs is where a status stands, what trailers look like, and
// that gRPC-Web may be in base64. So nothing here looks into a message, and
// nothing but the head of a frame is kept.
//
// The middlewares grpc_web and connect_rpc are built of it.
package grpcweb
