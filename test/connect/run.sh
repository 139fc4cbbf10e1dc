#!/bin/sh
# run.sh runs the Connect conformance suite through a gateway.
#
#   MODE          server (default): the suite's client, which checks the wire, in front;
#                 client: the suite's server, which answers oddly, behind
#   BIN           folder with connectconformance, referenceserver, referenceclient and pithead;
#                 default .bin of this repository
#   GATEWAY       command that starts a gateway, see main.go; default is Pithead
#   CONF          configuration of the suite; default notlsclient.yaml, 2,080 cases in 10 s;
#                 all.yaml has 10,756
#   UPSTREAM_HTTP same (default), 1 or 2: what the gateway speaks to the server
#   KNOWN         file of cases that may fail, one pattern a line
#   LOG           where the gateway and the server write; default: nowhere
set -eu
here=$(cd "$(dirname "$0")" && pwd)
BIN=$(cd "${BIN:-$here/../../.bin}" && pwd)
export PITHEAD="${PITHEAD:-$BIN/pithead}"
names='listen upstream proto cert key clientca upstreamca upstreamcert upstreamkey'
GATEWAY=${GATEWAY:-"$here/gw-pithead.sh$(printf ' %s={%s}' $(for n in $names; do echo "$n" "$n"; done))"}
go build -C "$here" -o "$BIN/connect" .
conf=${CONF:-$here/notlsclient.yaml}
set -- -gateway "$GATEWAY" -log "${LOG:-/dev/null}"
case ${MODE:-server} in
server) exec timeout "${TIMEOUT:-300}" "$BIN/connectconformance" --mode server --conf "$conf" ${KNOWN:+--known-failing "@$KNOWN"} -- \
	"$BIN/connect" server "$@" -upstream-http "${UPSTREAM_HTTP:-same}" -- ${PEER:-"$BIN/referenceserver"} ;;
translate)
	proto=$(go mod download -json connectrpc.com/conformance@v1.0.6 | sed -n 's/.*"Dir": "\(.*\)",/\1/p')/proto
	export USE="[{grpc_web: {}}, {connect_rpc: {descriptors: {protos: [$proto/connectrpc/conformance/v1/service.proto], import_paths: [$proto]}}}]"
	exec timeout "${TIMEOUT:-300}" "$BIN/connectconformance" --mode server --conf "$conf" --known-flaky 'Timeouts/HTTPVersion:2/Protocol:PROTOCOL_CONNECT/**/unary' ${KNOWN:+--known-failing "@$KNOWN"} -- \
		"$BIN/connect" server "$@" -translate -- ${PEER:-"$BIN/referenceserver"} ;;
client) exec timeout "${TIMEOUT:-300}" "$BIN/connectconformance" --mode client --conf "$conf" --known-flaky 'Timeouts/**' ${KNOWN:+--known-failing "@$KNOWN"} -- \
	"$BIN/connect" client "$@" -- ${PEER:-"$BIN/referenceclient"} ;;
esac
