#!/usr/bin/env bash
# fuzz.sh - run libFuzzer programs, two at a time, and print a table
#
#   RUNS=10000000 scripts/fuzz.sh PROGRAM...
#
# Seeds are tests/fuzz/corpus/NAME (kept in git); what a run finds goes to
# dist/fuzz/NAME and is used again by the next run. Crashing inputs are left in
# dist/fuzz/. MAX_SECONDS limits each program. Exit status 1 if one crashed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

runs=${RUNS:-10000000}
seconds=${MAX_SECONDS:-0}

fuzz_one()
{
    local name=${1##*/fuzz_} found seeds log

    found=dist/fuzz/$name
    seeds=tests/fuzz/corpus/$name
    log=dist/fuzz/$name.log
    mkdir -p "$found"
    [ -d "$seeds" ] || seeds=
    # shellcheck disable=SC2086 # no seeds: no argument
    if ! "$1" -runs="$runs" -max_total_time="$seconds" -print_final_stats=1 \
        -artifact_prefix="dist/fuzz/$name-" "$found" $seeds >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "FAILED: $1 (log $log)"
        return 1
    fi
    grep -E '(DONE|INITED|REDUCE|NEW|pulse).*cov:' "$log" | tail -n 1 |
        sed -E "s/.*cov: ([0-9]+) ft: ([0-9]+) corp: ([0-9]+).*/\1 \2 \3/" | {
        read -r cov features corpus
        printf '%-14s %12s runs  %6s edges  %6s features  %5s inputs kept\n' \
            "$name" "$(awk '/number_of_executed_units/ { print $2 }' "$log")" \
            "$cov" "$features" "$corpus"
    }
}

failed=0
pids=()
mkdir -p dist/fuzz
for program in "$@"; do
    if [ "${#pids[@]}" -ge 2 ]; then
        wait "${pids[0]}" || failed=1
        pids=("${pids[@]:1}")
    fi
    fuzz_one "$program" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || failed=1
done
exit "$failed"
