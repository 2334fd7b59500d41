#!/bin/bash
# health.sh - is the program in this container ready? For HEALTHCHECK.
#
#   health [PORT]      without PORT, the one of the program's own variable
#
# The images have no curl; bash can open a connection by itself.
set -uo pipefail

port=${1:-${READER_HTTP_PORT:-${BROADCASTER_HTTP_PORT:-7000}}}
port=${port##*:}
{ exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || exit 1
printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 2 _ status _ <&3
[ "${status:-}" = 200 ]
