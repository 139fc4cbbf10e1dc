package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of connectrpc.conformance.v1.ClientCompatRequest.
const (
	clientVersion  = 2
	clientHost     = 6
	clientPort     = 7
	clientServerCA = 8
	clientCreds    = 9
)

// client is a client under test as the suite sees it: each server that it is told
// of gets a gateway, and a client of our own is told of the gateway instead.
func client() {
	peer := command(flag.Args())
	in, err := peer.StdinPipe()
	check(err)
	peer.Stdout = os.Stdout
	check(peer.Start())
	children = append(children, peer)
	ports := map[string]int{}
	for {
		m := readMessage(os.Stdin)
		if m == nil {
			break
		}
		req := parse(m)
		port := portFor(req, ports)
		var out fields
		for _, f := range req {
			switch f.num {
			case clientHost:
				f.raw = protowire.AppendString(protowire.AppendTag(nil, clientHost, protowire.BytesType), "127.0.0.1")
			case clientPort:
				f.raw = protowire.AppendVarint(protowire.AppendTag(nil, clientPort, protowire.VarintType), uint64(port))
			case clientServerCA, clientCreds:
				continue
			}
			out = append(out, f)
		}
		writeMessage(in, out.encode())
	}
	check(in.Close())
	check(peer.Wait())
}

// portFor starts one gateway for each server, version and kind of credentials.
func portFor(req fields, ports map[string]int) int {
	server := net.JoinHostPort(string(req.bytes(clientHost)), fmt.Sprint(req.varint(clientPort)))
	version := fmt.Sprintf("h%d", req.varint(clientVersion))
	creds := parse(req.bytes(clientCreds))
	key := fmt.Sprintf("%s/%s/%v", server, version, creds != nil)
	if port, ok := ports[key]; ok {
		return port
	}
	vars := placeholders()
	vars["upstream"], vars["front"], vars["proto"] = server, version, version
	n := len(ports)
	if ca := req.bytes(clientServerCA); len(ca) > 0 {
		vars["upstreamca"] = file(fmt.Sprintf("upstream%d.pem", n), ca)
	}
	if creds != nil {
		vars["upstreamcert"] = file(fmt.Sprintf("upstream%d.crt", n), creds.bytes(1))
		vars["upstreamkey"] = file(fmt.Sprintf("upstream%d.key", n), creds.bytes(2))
	}
	ports[key] = startGateway(vars)
	return ports[key]
}
