#!/usr/bin/env bash
# Installs nginx and HAProxy from the system's packages if they are missing. As
# RUNLEVEL says that the machine is for one user, the packages start no service.
set -euo pipefail
have() { command -v "$1" >/dev/null || test -x "/usr/sbin/$1"; }
have nginx && have haproxy && exit
if test "$(id -u)" != 0 || ! command -v apt-get >/dev/null; then
	echo "the benchmarks need nginx and haproxy: install them, with their services stopped" >&2
	exit 1
fi
apt-get update -qq
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light haproxy >/dev/null
