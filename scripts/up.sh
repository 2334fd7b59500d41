#!/usr/bin/env bash
# up.sh - nginx, three broadcasters, readers and PostgreSQL here, until Ctrl-C
#
#   make up [UP_PORT=8080] [UP_READERS="postgres file"] [UP_BROADCASTERS=3] [UP_DIR=path]
#
# The topology of docker-compose.yml without Docker; what the scenarios use, too.
# nginx listens on UP_PORT of this machine, broadcasters on the ports after it,
# readers from UP_PORT+11 on, PostgreSQL on any free one. A program that ends is
# started again. Everything lives in a scratch folder, which is removed at the end;
# in UP_DIR it stays. The programs get all BROADCASTER_* and READER_* variables as
# they are.
set -euo pipefail
cd "$(dirname "$0")/.."

exec python3 -B tests/scenario/topology.py
