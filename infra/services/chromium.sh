#!/usr/bin/env bash
# Makes sure that a Chromium is here for the browser tests; installs Debian's where that is allowed.
set -euo pipefail
if command -v chromium >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing chromium from Debian's packages" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
  exit 0
fi
echo "no chromium found: install the package 'chromium' (Debian, Ubuntu), then run make test-full again" >&2
exit 1
