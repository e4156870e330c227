#!/usr/bin/env bash
# Makes sure that Docker's compose plugin is here, to check infra/compose.yaml; no engine has to run.
# Debian 12 has no package of version 2, so it is built with Go where there is one.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -x .make/bin/docker-compose ] || docker compose version >/dev/null 2>&1; then
  exit 0
fi
if command -v go >/dev/null 2>&1; then
  echo "building docker compose with Go (some minutes, once)" >&2
  mkdir -p .make/bin
  GOBIN=$PWD/.make/bin go install github.com/docker/compose/v2/cmd@v2.32.4
  mv .make/bin/cmd .make/bin/docker-compose
  exit 0
fi
echo "no docker compose found: install the compose plugin, or Go, then run make test-full again" >&2
exit 1
