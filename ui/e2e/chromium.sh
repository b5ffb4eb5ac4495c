#!/bin/sh
# Makes sure that there is a Chromium for the tests: installs Debian's when it may, or says what to do.
set -eu
if [ -n "${CHROMIUM_PATH:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
then
    exit 0
fi
command='apt-get update && apt-get install -y --no-install-recommends chromium'
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo 'ui: installing chromium' >&2
    if DEBIAN_FRONTEND=noninteractive sh -c "$command" >/dev/null && command -v chromium >/dev/null; then
        exit 0
    fi
fi
echo "ui: no Chromium for the browser tests: run \`sudo sh -c '$command'\`, or name one in CHROMIUM_PATH" >&2
exit 1
