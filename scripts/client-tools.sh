#!/bin/sh
# Sees to it that pg_dump, pg_restore and psql are there: installs them with apt if it may, else says the exact command.
set -eu

have_clients() {
  for place in "${TIDEMARK_PG_BIN:-}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/libpq/bin /usr/local/opt/libpq/bin \
    /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin /Applications/Postgres.app/Contents/Versions/latest/bin; do
    [ -n "$place" ] && [ -x "$place/pg_dump" ] && [ -x "$place/pg_restore" ] && [ -x "$place/psql" ] && return 0
  done
  command -v pg_dump >/dev/null && command -v pg_restore >/dev/null && command -v psql >/dev/null
}

install_with_apt() {
  echo 'setup: installing PostgreSQL client programs (postgresql-client) with apt-get'
  # The lists may be absent (images) or too old to fetch what they name.
  $1 env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql-client >/dev/null 2>&1 && return 0
  $1 apt-get update -q >/dev/null && $1 env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql-client >/dev/null
}

have_clients && exit 0

if command -v apt-get >/dev/null; then
  if [ "$(id -u)" = 0 ]; then
    install_with_apt '' || true
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    install_with_apt sudo || true
  fi
  have_clients && exit 0
  advice='sudo apt-get update && sudo apt-get install -y postgresql-client'
elif [ "$(uname -s)" = Darwin ]; then
  advice='brew install libpq'
elif command -v dnf >/dev/null; then
  advice='sudo dnf install -y postgresql'
elif command -v yum >/dev/null; then
  advice='sudo yum install -y postgresql'
elif command -v zypper >/dev/null; then
  advice='sudo zypper install -y postgresql'
elif command -v pacman >/dev/null; then
  advice='sudo pacman -S --needed postgresql-libs'
elif command -v apk >/dev/null; then
  advice='apk add postgresql-client'
else
  advice='install the PostgreSQL client programs with the package manager of this system'
fi
printf 'setup: %s\n' 'pg_dump, pg_restore and psql are missing, and the set-up may not install them here. Run:' "  $advice" 'and then the same command again.' >&2
exit 1
