#!/usr/bin/env bash
# Makes sure that promtool is here for the tests of the alert rules; installs Debian's where that is allowed.
# Nothing is started.
set -euo pipefail
if command -v promtool >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing prometheus from Debian's packages" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null
  exit 0
fi
echo "no promtool found: install the package 'prometheus' (Debian, Ubuntu), then run make test-full again" >&2
exit 1
