#!/usr/bin/env bash
# Makes sure that Java 17 and Maven are here for Spark; installs Debian's where that is allowed.
set -euo pipefail
java_here() { java -version 2>&1 | grep -Eq 'version "(17|21)[."]'; }
if java_here && command -v javac >/dev/null 2>&1 && command -v mvn >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing a Java 17 development kit and Maven from Debian's packages" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-17-jdk-headless maven >/dev/null
  java_here && exit 0
fi
echo "no Java 17 with Maven found: install openjdk-17-jdk-headless and maven (Debian, Ubuntu), then run this again" >&2
exit 1
