#!/bin/sh
# Builds the browser pages into ui/dist, unless they are up to date.
#
#   ui/build.sh             fails when there is no Node.js to build them with
#   ui/build.sh --if-node   says so, and lets the server be built with a page that tells how to build them
set -eu
cd "$(dirname "$0")"

if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null
then
    say='the browser pages need Node.js 20.19 or later to be built: install it from your system or from https://nodejs.org'
    if [ "${1:-}" = --if-node ]; then
        echo "ui: without them, because $say" >&2
        exit 0
    fi
    echo "ui: $say" >&2
    exit 1
fi

# npm writes the second file last: a newer lock file means that other packages are wanted.
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --no-audit --no-fund
fi
if node scripts/stamp.mjs; then
    echo 'ui: the browser pages are up to date' >&2
else
    npm run --silent build
fi
