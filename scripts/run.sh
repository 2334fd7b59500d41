#!/usr/bin/env bash
# run.sh - a broadcaster and some file readers on this machine, until Ctrl-C
#
#   make run [FILE=path] [READERS=2] [RUN_PORT=7000]
#
# Uploads FILE once everything is ready. The broadcaster listens on RUN_PORT of
# this machine, or where BROADCASTER_HTTP_PORT says; its readers take the ports
# after it. Objects, logs and pid files go below RUN_DIR (dist/run). ONCE=1 stops
# after the upload. The programs get all other BROADCASTER_* and READER_*
# variables as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${BIN:-dist}
dir=${RUN_DIR:-dist/run}
n_readers=${READERS:-2}
listen=${BROADCASTER_HTTP_PORT:-127.0.0.1:${RUN_PORT:-7000}}
port=${listen##*:}
url=http://localhost:$port
file=${FILE:-}
names=() # what was started, and its process ids, in the same order
pids=()

fail()
{
    echo "run: $*" >&2
    exit 1
}

# Stop what was started here, and nothing else: the broadcaster first, so that
# it can finish what runs.
stop_all()
{
    local i indices=("${!pids[@]}") last

    trap - INT TERM EXIT
    for ((last = ${#indices[@]} - 1; last >= 0; last--)); do
        i=${indices[last]}
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
        rm -f "$dir/${names[i]}.pid"
    done
}

on_signal()
{
    echo
    echo "run: stopping"
    exit 0
}

is_taken()
{
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

check_settings()
{
    local p

    [ -z "$file" ] || { [ -f "$file" ] && [ -r "$file" ]; } ||
        fail "FILE=$file is not a file that can be read"
    [[ $n_readers =~ ^[1-9]$ ]] || fail "READERS=$n_readers: 1 to 9 is allowed"
    [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || fail "\"$port\" is not a port"
    for ((p = port; p <= port + n_readers; p++)); do
        ! is_taken "$p" ||
            fail "port $p is taken by another program; stop it," \
                "or choose others: make run RUN_PORT=8000"
    done
}

# start NAME COMMAND...: its log goes to $dir/NAME.log
start()
{
    local name=$1

    shift
    "$@" >"$dir/$name.log" 2>&1 &
    names+=("$name")
    pids+=($!)
    echo $! >"$dir/$name.pid"
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
    local hosts='' p

    for ((p = port + 1; p <= port + n_readers; p++)); do
        hosts+="${hosts:+;}localhost:$p"
    done
    start broadcaster env BROADCASTER_HTTP_PORT="$listen" \
        BROADCASTER_HOST_LIST="$hosts" "$bin/broadcaster"
}

# wait_ready PORT: the program started last, up to ten seconds
wait_ready()
{
    local pid=${pids[-1]} log=$dir/${names[-1]}.log

    for _ in $(seq 100); do
        if ! kill -0 "$pid" 2>/dev/null; then
            cat "$log" >&2
            fail "${names[-1]} did not start; its log stands above ($log)"
        fi
        curl -fs --noproxy '*' -o /dev/null "http://127.0.0.1:$1/readyz" &&
            return 0
        sleep 0.1
    done
    tail -n 20 "$log" >&2
    fail "${names[-1]} was not ready within ten seconds (log: $log)"
}

start_everything()
{
    local p

    mkdir -p "$dir"
    for ((p = port + 1; p <= port + n_readers; p++)); do
        start_reader "$p"
        wait_ready "$p"
    done
    start_broadcaster
    wait_ready "$port"
}

upload()
{
    echo
    echo "run: curl -T ${file@Q} -H 'Accept: text/plain' $url/broadcast/"
    curl -sS --noproxy '*' -T "$file" -H 'Accept: text/plain' \
        ${BROADCASTER_TOKEN:+-H "Authorization: Bearer $BROADCASTER_TOKEN"} \
        "$url/broadcast/"
}

show()
{
    local i p=$port

    echo "run: everything is ready"
    printf '  %-12s  %-22s  pid %-7s  log %s\n' broadcaster "$url" \
        "${pids[-1]}" "$dir/broadcaster.log"
    for ((i = 0; i < n_readers; i++)); do
        printf '  %-12s  %-22s  pid %-7s  %s %s\n' "${names[i]}" \
            "http://localhost:$((++p))" "${pids[i]}" stores "$dir/${names[i]}/"
    done
}

invite()
{
    cat <<END

run: try, in another terminal
  curl -T FILE $url/broadcast/
  curl -F file=@FILE $url/broadcast
  tar c DIRECTORY | curl -T - $url/broadcast/backup.tar
  curl http://localhost:$((port + 1))/objects
  kill -9 \$(cat $dir/${names[n_readers - 1]}.pid)
run: Ctrl-C stops everything
END
}

# forget PID STATUS: say that it ended; without a broadcaster all is over
forget()
{
    local i

    for i in "${!pids[@]}"; do
        [ "${pids[i]}" = "$1" ] || continue
        echo "run: ${names[i]} has ended with status $2" \
            "(log: $dir/${names[i]}.log)"
        [ "${names[i]}" != broadcaster ] || exit 1
        rm -f "$dir/${names[i]}.pid"
        unset "pids[$i]" "names[$i]"
    done
}

# Until the broadcaster ends; to kill a reader is one of the things to try.
watch()
{
    local ended status

    while :; do
        status=0
        # The shell's own "Killed" message would only repeat what forget says.
        wait -n -p ended "${pids[@]}" 2>/dev/null || status=$?
        forget "$ended" "$status"
    done
}

main()
{
    check_settings
    trap stop_all EXIT
    trap on_signal INT TERM
    start_everything
    show
    [ -z "$file" ] || upload
    [ -z "${ONCE:-}" ] || return 0
    invite
    watch
}

main "$@"
