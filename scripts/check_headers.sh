#!/usr/bin/env bash
# check_headers.sh - compile every header alone, with gcc and with clang
#
# HEADER_FLAGS are the flags; the headers are those of all C folders.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

shopt -s nullglob
headers=(common/*.h broadcaster/*.h reader/*.h tests/*/*.h bench/*.h)
compilers=(gcc)
if command -v clang >/dev/null; then
    compilers+=(clang)
fi
failed=0

for header in "${headers[@]}"; do
    for cc in "${compilers[@]}"; do
        # shellcheck disable=SC2086 # HEADER_FLAGS is a list of words
        "$cc" $HEADER_FLAGS -Werror -fsyntax-only -include "$header" \
            -x c /dev/null || {
            echo "FAILED: $header does not compile alone ($cc)"
            failed=1
        }
    done
done
[ "$failed" != 0 ] ||
    echo "check-headers: ${#headers[@]} headers, ${compilers[*]}"
exit "$failed"
