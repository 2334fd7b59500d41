#!/usr/bin/env bash
# unit.sh - run unit test programs one after another and add up their counts
#
#   scripts/unit.sh PROGRAM...       WRAPPER="valgrind ..." runs each below it
#
# Programs that speak of TEST_DB_HOST get a PostgreSQL server of their own, one
# for all of them: TEST_DB_HOST, _PORT, _NAME, _USER and _PASSWORD say where.
#
# Quiet about what passed. The closing line is "unit: N passed, N failed"; it is
# also written to $COUNTS when that is set. Exit status 1 if anything failed,
# or nothing ran.
set -uo pipefail

PATH=$PATH:/usr/sbin # where nginx is, which some tests start
passed=0
failed=0

# Start again below a server, once, when one of the programs wants it. The name of
# the variable is part of a program that reads it: no list to keep.
if [ -z "${TEST_DB_HOST:-}" ] && grep -qs TEST_DB_HOST "$@"; then
    exec tests/scenario/postgres.py run "$0" "$@"
fi

# Check's summary line: "97%: Checks: 40, Failures: 1, Errors: 0"
add_up()
{
    local line checks bad=0

    while read -r line; do
        if [[ $line =~ Checks:\ ([0-9]+),\ Failures:\ ([0-9]+),\ Errors:\ ([0-9]+) ]]
        then
            checks=${BASH_REMATCH[1]}
            bad=$((BASH_REMATCH[2] + BASH_REMATCH[3]))
            passed=$((passed + checks - bad))
            failed=$((failed + bad))
        fi
    done <<<"$1"
    # A program that failed without a failed check (a crash, a sanitizer's
    # report at exit) counts as one failure.
    [ "$2" = 0 ] || [ "$bad" != 0 ] || failed=$((failed + 1))
}

# Programs that speak of TEST_S3_ENDPOINT get a Ceph RGW, one for all of them;
# scripts/s3_servers.py says what is set. No server is an error, not a skip.
if [ -z "${TEST_S3_ENDPOINT:-}" ] && grep -qs TEST_S3_ENDPOINT "$@"; then
    exec scripts/s3_servers.py run "$0" "$@"
fi

# What a test leaves, because it failed or was killed, goes with this folder.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

for program in "$@"; do
    # shellcheck disable=SC2086 # WRAPPER is a command with its arguments
    output=$(${WRAPPER:-} "$program" 2>&1)
    status=$?
    add_up "$output" "$status"
    [ "$status" = 0 ] || printf '%s\n--- FAILED (%s): %s\n' "$output" \
        "$status" "$program"
done

echo "unit: ${#} programs"
line="unit: $passed passed, $failed failed"
echo "$line"
[ -z "${COUNTS:-}" ] || echo "$line" >"$COUNTS"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
