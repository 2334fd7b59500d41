#!/usr/bin/env bash
# setup.sh - make sure the Debian packages that a task needs are installed
#
#   scripts/setup.sh [build|run|test|check|dev]      (default: build)
#
# build: compile the programs; run: and use them; test: what `make test` needs;
# check: what `make check` needs; dev: also the tools of format, tidy, valgrind,
# coverage and bench.
# Missing packages are installed when we are root or sudo asks no password;
# otherwise the exact command is printed and the exit status is 1. A second
# run, with nothing missing, only asks dpkg.
set -euo pipefail

# "package" or "package|command": the command, from wherever, will do as well.
BUILD="gcc|gcc make|make pkg-config|pkg-config libc6-dev libevent-dev
    libcurl4-openssl-dev libssl-dev libjansson-dev libpq-dev libmagic-dev
    libexpat1-dev"
RUN="curl|curl ca-certificates"
TEST="check libsubunit-dev python3|python3 strace|strace openssl|openssl
    nginx-light|nginx postgresql radosgw ceph-mon ceph-osd
    swift-proxy swift-account swift-container swift-object
    memcached|memcached awscli|aws faketime"
CHECK="clang|clang shellcheck|shellcheck systemd|systemd-analyze
    docker-compose|docker-compose"
DEV="clang-format|clang-format clang-tidy|clang-tidy cppcheck|cppcheck
    valgrind|valgrind gcovr|gcovr wrk|wrk git|git
    rclone|rclone"

packages_of()
{
    case $1 in
    build) echo "$BUILD" ;;
    run) echo "$BUILD $RUN" ;;
    test) echo "$BUILD $RUN $TEST" ;;
    check) echo "$BUILD $RUN $TEST $CHECK" ;;
    dev) echo "$BUILD $RUN $TEST $CHECK $DEV" ;;
    *)
        echo "setup: \"$1\": build, run, test, check or dev is allowed" >&2
        return 2
        ;;
    esac
}

# For users other than root Debian's PATH lacks the folder of nginx.
PATH=$PATH:/usr/sbin

is_installed()
{
    dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q ' installed$'
}

# Names of the packages that are not there, one a line.
missing_of()
{
    local entry

    for entry in $1; do
        is_installed "${entry%%|*}" && continue
        case $entry in
        *"|"*) command -v "${entry##*|}" >/dev/null && continue ;;
        esac
        echo "${entry%%|*}"
    done
}

as_root()
{
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root()
{
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

# --no-remove: never trade one of the machine's packages for one of ours.
apt_install()
{
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends --no-upgrade --no-remove \
        -o Dpkg::Use-Pty=0 "$@"
}

# The tests start servers of their own; Debian starts one more of each.
note_services()
{
    case " $* " in
    *" nginx-light "*)
        echo "setup: nginx is only needed as a program; if its service now" \
            "runs and you do not want it: systemctl disable --now nginx" >&2
        ;;
    esac
    case " $* " in
    *" postgresql "*)
        echo "setup: PostgreSQL is only needed as programs; if its cluster" \
            "on port 5432 now runs and you do not want it:" \
            "pg_lsclusters, pg_dropcluster --stop VERSION main" >&2
        ;;
    esac
    case " $* " in
    *" memcached "*)
        echo "setup: memcached is only needed as a program; if its service" \
            "now runs and you do not want it: systemctl disable --now" \
            "memcached" >&2
        ;;
    esac
}

install_missing()
{
    if apt-cache show "$@" >/dev/null 2>&1 && apt_install "$@"; then
        return 0
    fi
    echo "setup: the package lists are missing or old, refreshing them" >&2
    as_root apt-get update -q
    apt_install "$@"
}

# The exact command for somebody who can become root; sudo only where it is.
advise()
{
    local sudo=''

    if command -v sudo >/dev/null; then
        sudo='sudo '
        echo "setup: packages are missing; please run:" >&2
    else
        echo "setup: packages are missing; please run as root:" >&2
    fi
    echo "  ${sudo}apt-get update && ${sudo}apt-get install -y" \
        "--no-install-recommends $*" >&2
}

# No dpkg here: say what to look for and let the compiler have the last word.
advise_elsewhere()
{
    local lib

    for lib in libevent libcurl libssl libcrypto jansson libpq libmagic expat; do
        pkg-config --exists "$lib" 2>/dev/null ||
            echo "setup: library not found by pkg-config: $lib" >&2
    done
    echo "setup: not a Debian system, packages are not checked" >&2
}

main()
{
    local group=${1:-build} wanted missing

    wanted=$(packages_of "$group")
    if ! command -v dpkg-query >/dev/null; then
        advise_elsewhere
        return 0
    fi
    missing=$(missing_of "$wanted")
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086 # one word a package
    set -- $missing
    if ! can_be_root; then
        advise "$@"
        return 1
    fi
    echo "setup: installing $*" >&2
    install_missing "$@"
    note_services "$@"
}

main "$@"
