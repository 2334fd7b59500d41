#!/usr/bin/env bash
# run.sh - a broadcaster and two file readers on this machine, until Ctrl-C
#
#   make run [FILE=path]      upload FILE once everything is ready
#
# Environment: RUN_DIR (dist/run) is where objects and logs go, RUN_PORT (7000)
# the broadcaster's port; its readers take the two ports after it. ONCE=1 stops
# after the upload. Other BROADCASTER_* and READER_* variables are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${BIN:-dist}
dir=${RUN_DIR:-dist/run}
port=${RUN_PORT:-7000}
file=${FILE:-}
pids=()

fail()
{
    echo "run: $*" >&2
    exit 1
}

# Runs at every exit: stop what was started here, and nothing else.
stop_all()
{
    local pid

    trap - INT TERM EXIT
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
}

is_taken()
{
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

check_ports()
{
    local p

    for p in "$port" $((port + 1)) $((port + 2)); do
        ! is_taken "$p" ||
            fail "port $p is taken by another program; stop it," \
                "or choose others with RUN_PORT=8000 make run"
    done
}

# start NAME COMMAND...: its log goes to $dir/NAME.log
start()
{
    local name=$1

    shift
    "$@" >"$dir/$name.log" 2>&1 &
    pids+=($!)
}

start_reader()
{
    local name=reader-$1

    mkdir -p "$dir/$name"
    start "$name" env READER_HTTP_PORT="127.0.0.1:$1" \
        READER_STORE="${READER_STORE:-file}" \
        READER_FILE_DIR="$dir/$name" "$bin/reader"
}

start_broadcaster()
{
    start broadcaster env BROADCASTER_HTTP_PORT="${BROADCASTER_HTTP_PORT:-$port}" \
        BROADCASTER_HOST_LIST="localhost:$((port + 1));localhost:$((port + 2))" \
        "$bin/broadcaster"
}

# wait_ready NAME PORT: up to ten seconds, or until the program has ended
wait_ready()
{
    local pid=${pids[-1]}

    for _ in $(seq 100); do
        if ! kill -0 "$pid" 2>/dev/null; then
            cat "$dir/$1.log" >&2
            fail "$1 did not start; its log stands above ($dir/$1.log)"
        fi
        curl -fs -o /dev/null "http://127.0.0.1:$2/readyz" && return 0
        sleep 0.1
    done
    tail -n 20 "$dir/$1.log" >&2
    fail "$1 was not ready within ten seconds (log: $dir/$1.log)"
}

upload()
{
    echo "run: curl -T $file http://localhost:$port/broadcast/"
    curl -sS -T "$file" -H 'Accept: text/plain' \
        ${BROADCASTER_TOKEN:+-H "Authorization: Bearer $BROADCASTER_TOKEN"} \
        "http://localhost:$port/broadcast/"
    echo
}

invite()
{
    cat <<END
run: http://localhost:$port sends every upload to two directories at once:
  $dir/reader-$((port + 1))
  $dir/reader-$((port + 2))
run: try    curl -T FILE http://localhost:$port/broadcast/
run: logs   $dir/*.log
run: Ctrl-C stops it
END
}

main()
{
    scripts/setup.sh run
    [ -z "$file" ] || [ -r "$file" ] || fail "FILE=$file cannot be read"
    check_ports
    make -s all
    mkdir -p "$dir"
    trap stop_all EXIT
    trap 'exit 0' INT TERM
    start_reader $((port + 1))
    wait_ready "reader-$((port + 1))" $((port + 1))
    start_reader $((port + 2))
    wait_ready "reader-$((port + 2))" $((port + 2))
    start_broadcaster
    wait_ready broadcaster "$port"
    [ -z "$file" ] || upload
    [ -z "${ONCE:-}" ] || return 0
    invite
    wait -n || true
    fail "a program ended by itself; see $dir/*.log"
}

main "$@"
