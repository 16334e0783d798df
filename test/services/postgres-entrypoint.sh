#!/bin/sh
# Entry point of the test image, after the model of the official one: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB; arguments
# go to the server. Trust on the socket, SCRAM elsewhere.
set -eu
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /run/postgresql
  chown -R postgres:postgres "$PGDATA" /run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username="$user" --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --no-sync --no-instructions >/dev/null
  # Listens nowhere but the socket until it is set up, so that who waits for the port finds the finished server.
  pg_ctl start --silent --wait --options="-c listen_addresses='' -p ${PGPORT:-5432}"
  if [ "${POSTGRES_DB:-postgres}" != postgres ]; then createdb --username="$user" --maintenance-db=postgres "$POSTGRES_DB"; fi
  if [ -n "${POSTGRES_PASSWORD:-}" ]; then
    printf "alter role :\"who\" password :'word';\n" | psql -q -X -v ON_ERROR_STOP=1 -v who="$user" -v word="$POSTGRES_PASSWORD" -U "$user" -d postgres
  fi
  pg_ctl stop --silent --wait --mode=fast
  echo "listen_addresses = '127.0.0.1'" >>"$PGDATA/postgresql.conf"
fi
exec postgres "$@"
