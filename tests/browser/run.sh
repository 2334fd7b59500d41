#!/usr/bin/env bash
# run.sh - the tests with a browser and other real players; make test-browser
#
# Needs chromium, ffmpeg, wget, nodejs and npm; playwright-core comes from npm, once.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in chromium ffmpeg ffprobe wget node npm; do
    command -v "$program" >/dev/null || missing+=" $program"
done
if [ -n "${missing:-}" ]; then
    echo "test-browser: missing:$missing" >&2
    echo "  apt-get install -y --no-install-recommends chromium ffmpeg wget nodejs npm" >&2
    exit 1
fi
[ -d tests/browser/node_modules/playwright-core ] ||
    npm ci --prefix tests/browser --no-audit --no-fund --ignore-scripts --silent
exec tests/scenario/run.py -v --folder tests/browser "$@"
