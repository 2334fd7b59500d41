#!/usr/bin/env bash
# check_deploy.sh - do nginx, systemd and docker-compose accept what is in build/?
#
#   scripts/check_deploy.sh BINDIR      where the two programs are
#
# A tool that is not there is said to be missing and its files are not checked;
# with CI set that is a failure. systemd's measure of exposure must be 2.0 at most.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

PATH=$PATH:/usr/sbin
bin=$(realpath "${1:-dist}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

fault()
{
    echo "check-deploy: $*" >&2
    failed=1
}

have()
{
    command -v "$1" >/dev/null && return 0
    echo "check-deploy: no $1, $2 not checked" >&2
    [ -z "${CI:-}" ] || failed=1
    return 1
}

check_nginx()
{
    local output

    mkdir -p "$scratch/temp"
    output=$(nginx -t -q -p "$scratch" -c "$PWD/build/nginx/nginx.conf" 2>&1) ||
        fault "$output"
}

# Its instance needs a file of settings, and the programs where it says they are.
check_unit()
{
    local unit=$1 name=$2 output level

    sed "s,/usr/local/bin,$bin,; s,^EnvironmentFile=,EnvironmentFile=-," \
        "build/systemd/$unit" >"$scratch/$unit"
    output=$(systemd-analyze verify --man=no "$scratch/$name" 2>&1) ||
        fault "$output"
    [ -z "$output" ] || fault "$output"
    level=$(systemd-analyze security --no-pager --offline=true \
        "$scratch/$unit" | sed -nE 's/.*exposure level.*: ([0-9.]+) .*/\1/p')
    echo "check-deploy: $unit: exposure $level"
    awk -v level="$level" 'BEGIN { exit !(level != "" && level <= 2.0) }' ||
        fault "$unit: exposure \"$level\", 2.0 is the limit"
}

check_units()
{
    check_unit broadcaster.service broadcaster.service
    ln -s reader@.service "$scratch/reader@archive.service"
    check_unit reader@.service reader@archive.service
}

# compose SECRET=VALUE...: the messages of docker-compose config with these alone
compose()
{
    : >"$scratch/env"
    {
        env -u READER_TOKEN -u DB_PASSWORD -u POSTGRES_PASSWORD "$@" \
            docker-compose --env-file "$scratch/env" config >/dev/null
    } 2>&1
}

check_compose()
{
    local output

    output=$(compose READER_TOKEN=x DB_PASSWORD=x POSTGRES_PASSWORD=x) ||
        fault "$output"
    ! compose READER_TOKEN=x DB_PASSWORD=x >/dev/null ||
        fault "docker-compose.yml: a secret may be missing"
}

have nginx build/nginx && check_nginx
have systemd-analyze build/systemd && check_units
have docker-compose docker-compose.yml && check_compose
[ "$failed" != 0 ] || echo "check-deploy: all good"
exit "$failed"
