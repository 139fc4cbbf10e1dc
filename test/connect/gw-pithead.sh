#!/bin/sh
# gw-pithead.sh LISTEN UPSTREAM h1|h2 [CERT KEY] starts Pithead between the two.
# PITHEAD is the binary; the configuration goes to TMPDIR, which the caller removes.
set -eu
dir=$(mktemp -d)
protocol=http
[ "$3" = h2 ] && protocol=h2c
front='protocols: [h1, h2c]'
[ -n "${4:-}" ] && front="tls: {certificates: [{cert: \"$4\", key: \"$5\"}]}"
cat >"$dir/pithead.yaml" <<YAML
listeners:
  web:
    address: "$1"
    $front
admin: {address: "unix:$dir/admin.sock"}
access_log: {output: "off"}
reload: {watch: false}
upstreams:
  peer:
    discover: {static: {targets: ["$2"]}}
    protocol: $protocol
routes:
  - match: {prefix: /}
    to: peer
YAML
exec "${PITHEAD:-pithead}" run "$dir/pithead.yaml"
