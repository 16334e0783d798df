#!/bin/sh
# Runs every benchmark bench/*.bench.ts, or those whose names contain an argument.
set -eu
cd "$(dirname "$0")/.."
ran=
for file in bench/*.bench.ts; do
  [ -f "$file" ] || continue
  case $file in *"${1:-}"*) ;; *) continue ;; esac
  echo "bench: $file"
  node_modules/.bin/node "$file"
  ran=yes
done
[ -n "$ran" ] || { echo 'bench: no benchmark of that name in bench/' >&2; exit 2; }
