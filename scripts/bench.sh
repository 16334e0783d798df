#!/bin/sh
# Runs every benchmark, or those whose names contain an argument.
set -eu
cd "$(dirname "$0")/.."
ran=
for file in bench/dump.ts bench/stream.ts bench/fingerprint.ts; do
  [ -f "$file" ] || continue
  case $file in *"${1:-}"*) ;; *) continue ;; esac
  echo "bench: $file"
  node_modules/.bin/node "$file"
  ran=yes
done
[ -n "$ran" ] || { echo 'bench: no benchmark of that name in bench/' >&2; exit 2; }
