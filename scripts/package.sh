#!/bin/sh
# Packs what is published and tries it as its users will: size, launcher (local, global, by a link), Node API.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
node_program=$root/node_modules/.bin/node
room=$(mktemp -d "${TMPDIR:-/tmp}/tidemark-package.XXXXXX")
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
most_kib=61440
quiet='--ignore-scripts --no-audit --no-fund --loglevel=error'

stop() {
  printf 'package: %s\n' "$@" >&2
  exit 1
}

[ -f dist/cli/main.js ] || stop 'dist/ is missing; run: make package'
tarball=$room/$(npm pack --silent --pack-destination "$room")
tar -tzf "$tarball" | grep -E '\.test\.|^package/(src|test|scripts)/' && stop 'the package carries what is only for development'
tar -tzf "$tarball" | grep -qx 'package/LICENSE' || stop 'the package lacks its licence'

mkdir "$room/host"
cd "$room/host"
printf '{ "name": "host", "private": true }\n' >package.json
# shellcheck disable=SC2086
npm install $quiet --omit=dev "$tarball" >/dev/null
size() { find node_modules -type f ! -path 'node_modules/node-*' -exec du -k {} + | awk '{ sum += $1 } END { print sum }'; }
kib=$(size)
[ "$kib" -lt "$most_kib" ] || stop "a production install takes $((kib / 1024)) MB beside Node, at most 60"

# The system's own, possibly old, Node comes first on the PATH here, as it would for a user.
expected=$("$node_program" -p 'require(process.argv[1]).version' "$root/package.json")
try() {
  said=$(env PATH="$1" "$2" --version) || stop "$2 --version failed"
  case $said in *"$expected"*) ;; *) stop "$2 --version said \"$said\", not $expected" ;; esac
}
plain=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
try "$plain" node_modules/.bin/tidemark
npm install $quiet --global --prefix "$room/global" --omit=dev "$tarball" >/dev/null
try "$plain" "$room/global/bin/tidemark"
ln -s ../global/bin/tidemark "$room/host/linked"
try "$plain" "$room/host/linked"
(cd / && try "$room/global/bin:$plain" tidemark)

if [ -f "$root/dist/api/index.js" ]; then
  "$node_program" --input-type=module -e 'import { openTidemark } from "tidemark"; if (typeof openTidemark !== "function") throw new Error("no openTidemark")'
  "$node_program" --input-type=commonjs -e 'if (typeof require("tidemark").openTidemark !== "function") throw new Error("require gives no openTidemark")'
else
  echo 'package: there is no src/api/index.ts yet; the Node API was not tried' >&2
fi
echo "package: $((kib / 1024)) MB beside Node (at most 60), $(($(wc -c <"$tarball") / 1024)) KiB packed; launcher and API work"
