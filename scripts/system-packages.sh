#!/bin/sh
# Sees to it that what npm does not bring is there: PostgreSQL's client programs, and the one library that npm's Node needs and
# small Debian images lack (libatomic). Installs them with apt if it may, else says the exact command.
set -eu
cd "$(dirname "$0")/.."

have_clients() {
  for place in "${TIDEMARK_PG_BIN:-}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/libpq/bin /usr/local/opt/libpq/bin \
    /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin /Applications/Postgres.app/Contents/Versions/latest/bin; do
    [ -n "$place" ] && [ -x "$place/pg_dump" ] && [ -x "$place/pg_restore" ] && [ -x "$place/psql" ] && return 0
  done
  command -v pg_dump >/dev/null && command -v pg_restore >/dev/null && command -v psql >/dev/null
}

# Where npm brought no Node for this machine there is nothing to mend; the launcher then wants one on the PATH.
have_libraries() {
  [ ! -x node_modules/.bin/node ] && return 0
  case $(node_modules/.bin/node --version 2>&1) in *libatomic*) return 1 ;; *) return 0 ;; esac
}

# missing <name for clients> <name for libatomic>
missing() {
  have_clients || printf '%s ' "$1"
  have_libraries || printf '%s ' "$2"
}

apt_install() {
  # shellcheck disable=SC2086
  $1 env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $2
}

install_with_apt() {
  wanted=$(missing postgresql-client libatomic1)
  echo "setup: installing with apt-get: $wanted"
  # The lists may be absent (images) or too old to fetch what they name.
  apt_install "$1" "$wanted" >/dev/null 2>&1 || { $1 apt-get update -q >/dev/null && apt_install "$1" "$wanted" >/dev/null; }
}

all_there() { have_clients && have_libraries; }

all_there && exit 0

if command -v apt-get >/dev/null; then
  if [ "$(id -u)" = 0 ]; then
    install_with_apt '' || true
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    install_with_apt sudo || true
  fi
  all_there && exit 0
  advice="sudo apt-get update && sudo apt-get install -y $(missing postgresql-client libatomic1)"
elif [ "$(uname -s)" = Darwin ]; then
  advice="brew install $(missing libpq '')"
elif command -v dnf >/dev/null; then
  advice="sudo dnf install -y $(missing postgresql libatomic)"
elif command -v yum >/dev/null; then
  advice="sudo yum install -y $(missing postgresql libatomic)"
elif command -v zypper >/dev/null; then
  advice="sudo zypper install -y $(missing postgresql libatomic1)"
elif command -v pacman >/dev/null; then
  advice="sudo pacman -S --needed $(missing postgresql-libs gcc-libs)"
elif command -v apk >/dev/null; then
  advice="apk add $(missing postgresql-client libatomic)"
else
  advice='install the PostgreSQL client programs (pg_dump, pg_restore, psql) with the package manager of this system'
fi
have_clients || echo 'setup: pg_dump, pg_restore and psql are missing' >&2
have_libraries || echo 'setup: the Node that npm brought does not start: libatomic.so.1 is missing' >&2
printf 'setup: %s\n' 'the set-up may not install them here. Run:' "  $advice" 'and then the same command again.' >&2
exit 1
