#!/usr/bin/env bash
# Makes sure that PostgreSQL's server programs are here; installs Debian's where that is allowed.
# Starts no server: the tests make throw-away clusters of their own.
set -euo pipefail
if command -v initdb >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing postgresql from Debian's packages" >&2
  apt-get update -qq
  # Without this the package would also make and start a cluster of its own.
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null
  exit 0
fi
echo "no PostgreSQL server programs found: install the package 'postgresql' (Debian, Ubuntu), then run make test-full again" >&2
exit 1
