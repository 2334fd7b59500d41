#!/usr/bin/env bash
# run.sh - check what the benchmarks need, then run them
#
#   bench/run.sh [NAME ...] [--runs N] [--size BYTES]
#
# NAMEs are cpu, memory, small, shell, playback, pg_store and s3_store; without
# any, all of them. Needs the programs (make bench builds them), python3, curl,
# and for some comparisons nginx, strace, PostgreSQL, Ceph's RGW, aws and rclone.
set -euo pipefail
cd "$(dirname "$0")/.."

need()
{
    command -v "$1" >/dev/null && return 0
    echo "bench: $1 is missing; try apt-get install $2" >&2
    exit 2
}

PATH=$PATH:/usr/sbin
need python3 python3
need curl curl
need nginx nginx-light
need strace strace
ulimit -n "$(ulimit -Hn)"
exec python3 bench/bench.py "$@"
