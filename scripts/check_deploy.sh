#!/usr/bin/env bash
# check_deploy.sh - do nginx, systemd and docker-compose accept what is in build/?
#
#   scripts/check_deploy.sh BINDIR      where the two programs are
#
# A tool that is not there is said to be missing and its files are not checked;
# with CI set that is a failure. systemd's measure of exposure must be 2.0 at most.
# The programs themselves check the examples of their settings; the shell scripts are
# for `make lint`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

PATH=$PATH:/usr/sbin
bin=$(realpath "${1:-dist}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
unchecked=''

fault()
{
    echo "check-deploy: $*" >&2
    failed=1
}

have()
{
    command -v "$1" >/dev/null && return 0
    unchecked+="${unchecked:+, }$2 (no $1)"
    [ -z "${CI:-}" ] || failed=1
    return 1
}

# check_nginx FOLDER: with its listen.conf and servers.conf. nginx binds what it is to
# listen on, and not everybody may have port 80.
check_nginx()
{
    local output

    rm -rf "$scratch/nginx"
    mkdir -p "$scratch/nginx/temp" "$scratch/nginx/stream-broadcast"
    cp build/nginx/*.conf "$scratch/nginx"
    cp "$1"/*.conf "$scratch/nginx/stream-broadcast"
    sed -i '/^listen/s/\b80\b/8080/' "$scratch/nginx/stream-broadcast/listen.conf"
    output=$(nginx -t -q -p "$scratch/nginx" -c nginx.conf 2>&1) ||
        fault "$1: $output"
}

check_nginxes()
{
    check_nginx build/nginx/stream-broadcast
    check_nginx build/docker/nginx
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

# check_example PROGRAM FILE: does the program accept it, as systemd reads it?
check_example()
{
    local settings output

    mapfile -t settings < <(grep -v '^#' "build/systemd/$2")
    output=$(cd "$scratch" && env -i "${settings[@]}" "$bin/$1" --check-config 2>&1) ||
        fault "$2: $output"
}

check_examples()
{
    check_example broadcaster broadcaster-1.env.example
    check_example reader reader-db.env.example
    check_example reader reader-archive.env.example
}

check_units()
{
    ln -s broadcaster@.service "$scratch/broadcaster@1.service"
    check_unit broadcaster@.service broadcaster@1.service
    ln -s reader@.service "$scratch/reader@archive.service"
    check_unit reader@.service reader@archive.service
}

# compose: the messages of docker-compose config with $scratch/env alone
compose()
{
    {
        env -u READER_TOKEN -u DB_PASSWORD -u POSTGRES_PASSWORD \
            docker-compose --env-file "$scratch/env" config >/dev/null
    } 2>&1
}

# With .env.example filled in; without any one of its secrets nothing starts.
check_compose()
{
    local secrets=(READER_TOKEN DB_PASSWORD POSTGRES_PASSWORD) secret output

    for secret in "${secrets[@]}"; do
        sed "/^$secret=/!s/^\([A-Z_]*\)=\$/\1=x/" .env.example >"$scratch/env"
        ! compose >/dev/null ||
            fault "docker-compose.yml: $secret may be missing"
    done
    sed 's/^\([A-Z_]*\)=$/\1=x/' .env.example >"$scratch/env"
    output=$(compose) || fault "$output"
}

have nginx "nginx's files" && check_nginxes
have systemd-analyze build/systemd && check_units
have docker-compose docker-compose.yml && check_compose
check_examples
[ -z "$unchecked" ] || echo "check-deploy: NOT checked: $unchecked" >&2
[ "$failed" != 0 ] || echo "check-deploy: what was checked is good"
exit "$failed"
