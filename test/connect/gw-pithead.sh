#!/bin/sh
# gw-pithead.sh NAME=VALUE... starts Pithead between the two halves. The names are those
# of main.go: listen, upstream, proto, and for TLS cert, key, clientca, upstreamca,
# upstreamcert, upstreamkey.
# PITHEAD is the binary; the configuration goes to TMPDIR, which the caller removes.
# USE is the chain of the route, `[]` by default.
set -eu
proto=h1 cert='' key='' clientca='' upstreamca='' upstreamcert='' upstreamkey=''
for arg; do
	case $arg in
	listen=* | upstream=* | proto=* | cert=* | key=* | clientca=* | upstreamca=* | upstreamcert=* | upstreamkey=*) eval "${arg%%=*}=\${arg#*=}" ;;
	*) echo "unknown argument $arg" >&2 && exit 2 ;;
	esac
done
dir=$(mktemp -d)
front='protocols: [h1, h2c]'
if [ -n "$cert" ]; then
	front="tls: {certificates: [{cert: \"$cert\", key: \"$key\"}]${clientca:+, client: {ca: \"$clientca\"\}}}"
fi
protocol=http back=''
[ "$proto" = h2 ] && protocol=h2c
if [ -n "$upstreamca" ]; then
	protocol=https
	back="tls: {ca: \"$upstreamca\"${upstreamcert:+, certificate: {cert: \"$upstreamcert\", key: \"$upstreamkey\"\}}}"
fi
cat >"$dir/pithead.yaml" <<YAML
listeners:
  web:
    address: "$listen"
    $front
admin: {address: "unix:$dir/admin.sock"}
access_log: {output: "off"}
reload: {watch: false}
upstreams:
  peer:
    discover: {static: {targets: ["$upstream"]}}
    protocol: $protocol
    $back
routes:
  - match: {prefix: /}
    use: ${USE:-[]}
    to: peer
YAML
exec "${PITHEAD:-pithead}" run "$dir/pithead.yaml"
