package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of connectrpc.conformance.v1.ServerCompatRequest and of its response.
const (
	serverProtocol = 1
	serverVersion  = 2
	serverTLS      = 4
	serverClientCA = 5
	serverCreds    = 7

	responseHost = 1
	responsePort = 2
	responsePEM  = 3
)

// protocolGRPC is a connectrpc.conformance.v1.Protocol.
const protocolGRPC = 2

// server is a server under test as the suite sees it: the gateway's address in
// front of a server that knows of no TLS.
func server() {
	req := parse(readMessage(os.Stdin))
	version := req.varint(serverVersion)
	vars := placeholders()
	vars["front"] = fmt.Sprintf("h%d", version)
	var pem []byte
	if req.varint(serverTLS) == 1 {
		creds := parse(req.bytes(serverCreds))
		pem = creds.bytes(1)
		vars["cert"], vars["key"] = file("cert.pem", pem), file("key.pem", creds.bytes(2))
	}
	if ca := req.bytes(serverClientCA); len(ca) > 0 {
		vars["clientca"] = file("clientca.pem", ca)
	}
	if *upstream != "same" {
		version = uint64((*upstream)[0] - '0')
	}
	protocol := req.varint(serverProtocol)
	if *translate {
		version, protocol = 2, protocolGRPC
	}
	vars["proto"] = fmt.Sprintf("h%d", version)
	vars["upstream"] = startPeer(req, version, protocol)
	port := startGateway(vars)

	b := protowire.AppendTag(nil, responseHost, protowire.BytesType)
	b = protowire.AppendString(b, "127.0.0.1")
	b = protowire.AppendTag(b, responsePort, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(port))
	if pem != nil {
		b = protowire.AppendTag(b, responsePEM, protowire.BytesType)
		b = protowire.AppendBytes(b, pem)
	}
	writeMessage(os.Stdout, b)
	select {} // until the suite has had enough
}

// startPeer starts the server behind the gateway, with the suite's request less
// its TLS, and returns its address.
func startPeer(req fields, version, protocol uint64) string {
	var out fields
	for _, f := range req {
		switch f.num {
		case serverVersion:
			f.raw = protowire.AppendVarint(protowire.AppendTag(nil, serverVersion, protowire.VarintType), version)
		case serverProtocol:
			f.raw = protowire.AppendVarint(protowire.AppendTag(nil, serverProtocol, protowire.VarintType), protocol)
		case serverTLS, serverClientCA, serverCreds:
			continue
		}
		out = append(out, f)
	}
	peer := command(flag.Args())
	in, err := peer.StdinPipe()
	check(err)
	back, err := peer.StdoutPipe()
	check(err)
	check(peer.Start())
	children = append(children, peer)
	writeMessage(in, out.encode())
	check(in.Close())
	resp := parse(readMessage(back))
	host := string(resp.bytes(responseHost))
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, fmt.Sprint(resp.varint(responsePort)))
}
