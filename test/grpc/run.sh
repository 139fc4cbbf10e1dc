#!/bin/bash
# run.sh runs the gRPC interoperability tests through a gateway: client, gateway, server.
#
#   BIN      folder with interop/client and interop/server, which are google.golang.org/grpc/interop/{client,server},
#            and pithead; default .bin of this repository
#   GATEWAY  command that starts a gateway, with {listen} {upstream} {proto} {cert} {key}; default is Pithead
#   FRONT    h2c (default) or tls: what the client speaks to the gateway
#   LOOPS    how often status_code_and_message runs, which has found races that show up in 1 of 5; default 60
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
BIN=$(cd "${BIN:-$here/../../.bin}" && pwd)
export PITHEAD=${PITHEAD:-$BIN/pithead}
GATEWAY=${GATEWAY:-$here/../connect/gw-pithead.sh listen={listen\} upstream={upstream\} proto={proto\} cert={cert\} key={key\}}
TMPDIR=$(mktemp -d)
export TMPDIR

cases="empty_unary large_unary client_streaming server_streaming ping_pong empty_stream timeout_on_sleeping_server
	cancel_after_begin cancel_after_first_response status_code_and_message special_status_message custom_metadata
	unimplemented_method unimplemented_service rpc_soak channel_soak"

pids=()
finish() {
	kill "${pids[@]}" 2>/dev/null
	wait "${pids[@]}" 2>/dev/null
	rm -rf "$TMPDIR"
}
trap finish EXIT

# free_port asks the kernel for a port of the ephemeral range that nobody listens on.
free_port() {
	local port
	while port=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
	echo "$port"
}

await() {
	for _ in $(seq 300); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
		sleep 0.1
	done
	echo "nobody listens on $1" >&2
	exit 1
}

back=$(free_port)
front=$(free_port)
while [ "$front" = "$back" ]; do front=$(free_port); done
"$BIN/interop/server" -port "$back" >"$TMPDIR/server.log" 2>&1 &
pids+=($!)
command=${GATEWAY//\{listen\}/127.0.0.1:$front}
command=${command//\{upstream\}/127.0.0.1:$back}
command=${command//\{proto\}/h2}
cert='' key='' tls=()
if [ "${FRONT:-h2c}" = tls ]; then
	cert=$TMPDIR/cert.pem key=$TMPDIR/key.pem
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
		-addext subjectAltName=DNS:localhost -keyout "$key" -out "$cert" 2>/dev/null
	tls=(-use_tls -use_test_ca -ca_file "$cert" -server_host_override localhost)
fi
command=${command//\{cert\}/$cert}
command=${command//\{key\}/$key}
$command >"$TMPDIR/gateway.log" 2>&1 &
pids+=($!)
await "$back"
await "$front"

passed=0 failed=0
try() {
	local extra=() out
	# How fast an iteration is, is not the question.
	case $1 in *_soak) extra=(-soak_iterations=20 -soak_overall_timeout_seconds=60 -soak_per_iteration_max_acceptable_latency_ms=20000) ;; esac
	if out=$(timeout 90 "$BIN/interop/client" -server_host 127.0.0.1 -server_port "$front" -test_case "$1" "${tls[@]}" "${extra[@]}" 2>&1); then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "$1 failed:"
		tail -n 5 <<<"$out"
	fi
}
for name in $cases; do try "$name"; done
for ((i = 0; i < ${LOOPS:-60}; i++)); do try status_code_and_message; done
if [ "$failed" -gt 0 ]; then
	echo "gateway:"
	tail -n 20 "$TMPDIR/gateway.log"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
