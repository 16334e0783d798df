#!/bin/sh
# Makes a bare clone ready: packages from npm, the tidemark command, PostgreSQL's client programs. Cheap when all is there.
set -eu
cd "$(dirname "$0")/.."
# Not the Node that this is about to install or mend.
PATH=$(printf %s "$PATH" | sed "s|^$PWD/node_modules/.bin:||")
export PATH

stop() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

command -v node >/dev/null || stop 'there is no node on the PATH; version 20 or newer is needed, and npm with it'
command -v npm >/dev/null || stop 'there is no npm on the PATH; it comes with Node'
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 20 ] || stop "needs Node 20 or newer to begin with; $(command -v node) is $(node --version)"

if ! missing=$(node scripts/installed.mjs); then
  echo "setup: installing packages from npm ($missing)"
  # Node 20 only runs npm here; the packages run on the Node that npm brings, so their engines do not concern it.
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --no-update-notifier || stop 'npm could not install the packages; is the npm registry reachable?'
  missing=$(node scripts/installed.mjs) || stop "npm ended well, but $missing"
fi

# npm does not link a package's own command.
if [ "$(readlink node_modules/.bin/tidemark 2>/dev/null)" != ../../bin/tidemark ]; then
  mkdir -p node_modules/.bin
  ln -sfn ../../bin/tidemark node_modules/.bin/tidemark
fi
chmod +x bin/tidemark

sh scripts/system-packages.sh
# npm's builds need glibc. Elsewhere (Alpine) a link to one that cannot start would hide the system's own Node.
if [ -e node_modules/.bin/node ] && ! node_modules/.bin/node --version >/dev/null 2>&1; then rm node_modules/.bin/node; fi
node_modules/.bin/tidemark --version >/dev/null || stop 'the tidemark command does not start'
[ "${1:-}" = --quiet ] || echo 'setup: ready; try node_modules/.bin/tidemark --help'
