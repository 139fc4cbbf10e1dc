#!/bin/sh
# run.sh runs the Connect conformance suite through a gateway, 2,080 cases in 10 s.
#
#   BIN      folder with connectconformance, referenceserver and pithead; default .bin of this repository
#   GATEWAY  command that starts a gateway, see main.go; default is Pithead
#   CONF     configuration of the suite; default notlsclient.yaml. all.yaml has 10,756 cases
#            and wants client certificates of the gateway
#   LOG      where the gateway and the server write; default: nowhere
set -eu
here=$(cd "$(dirname "$0")" && pwd)
BIN=$(cd "${BIN:-$here/../../.bin}" && pwd)
export PITHEAD="${PITHEAD:-$BIN/pithead}"
GATEWAY=${GATEWAY:-"$here/gw-pithead.sh {listen} {upstream} {proto} {cert} {key}"}
go build -C "$here" -o "$BIN/connect" .
exec timeout "${TIMEOUT:-300}" "$BIN/connectconformance" --mode server --conf "${CONF:-$here/notlsclient.yaml}" -- \
	"$BIN/connect" server -gateway "$GATEWAY" -upstream-http "${UPSTREAM_HTTP:-same}" -log "${LOG:-/dev/null}" -- "$BIN/referenceserver"
