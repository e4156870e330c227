#!/usr/bin/env bash
# Makes sure that a MinIO server is here for the tests of lakes on an object store; builds one with Go.
# It is a server beside us (AGPL), started as a process of its own and never linked.
set -euo pipefail
version=v0.0.0-20260212201848-7aac2a2c5b7c
if command -v minio >/dev/null 2>&1; then
  exit 0
fi
if ! command -v go >/dev/null 2>&1; then
  echo "no minio and no Go to build it with: put a minio server on PATH, then try again" >&2
  exit 1
fi
folder="$(go env GOBIN)"
folder="${folder:-$(go env GOPATH)/bin}"
if [ -x "$folder/minio" ]; then
  exit 0
fi
echo "building minio $version with Go: some minutes, once" >&2
go install "github.com/minio/minio@$version"
