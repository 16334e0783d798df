#!/bin/bash
# Runs a command with real services around it, and always ends them: Ceph's S3 gateway, a Docker engine, and PostgreSQL
# client programs of majors that this system lacks. Needs root on Debian or Ubuntu; nothing listens beyond loopback.
#
#   test/services/with-services.sh [--only ceph,docker,clients17,clients18] [--prepare] [command...]
#
# --prepare installs and builds what takes long (packages, Debian roots), starts nothing and runs nothing.
# What takes long is kept in $TIDEMARK_TEST_CACHE (default /var/cache/tidemark-test), never inside the checkout.
# The command sees
#   TIDEMARK_TEST_S3_ENDPOINT, _S3_ACCESS_KEY, _S3_SECRET_KEY, _S3_BUCKET   Ceph; the bucket exists and is empty
#   TIDEMARK_TEST_DOCKER_HOST, TIDEMARK_TEST_DOCKER_IMAGE                   engine without a bridge: --network host or none
#   TIDEMARK_TEST_PG_BIN                                                    directories <…>/<major>/bin, joined by colons
#   TIDEMARK_EXPECT_SERVICES                                                what was asked for, started or not
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TIDEMARK_TEST_CACHE:-/var/cache/tidemark-test}
services=ceph,docker,clients17,clients18
prepare_only=
image=tidemark-test/postgres:15

while [ $# -gt 0 ]; do
  case $1 in
    --only) services=$2; shift 2 ;;
    --prepare) prepare_only=yes; shift ;;
    --) shift; break ;;
    -*) echo "with-services: unknown option $1" >&2; exit 2 ;;
    *) break ;;
  esac
done
[ -n "$prepare_only" ] || [ $# -gt 0 ] || { sed -n '2,14p' "$0" >&2; exit 2; }

say() { printf '%s services: %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
wanted() { case ,$services, in *",$1,"*) return 0 ;; *) return 1 ;; esac; }

# ---------------------------------------------------------------------------------------------- what is kept between runs

install_packages() {
  local package missing=() packages=(age faketime pgbouncer)
  wanted ceph && packages+=(radosgw ceph-mon ceph-osd ceph-common ceph-base)
  wanted docker && packages+=(docker.io iptables)
  if wanted docker || wanted clients17 || wanted clients18; then packages+=(debootstrap); fi
  grep -qs '^ID=ubuntu' /etc/os-release && packages+=(debian-archive-keyring)
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = 'ii ' ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${missing[*]}"
  # RUNLEVEL=1 keeps the packages from starting services of their own on machines with a service manager.
  if ! { apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$cache/packages.log" 2>&1; then
    tail -20 "$cache/packages.log" >&2
    say 'apt-get failed'
    return 1
  fi
}

# The mounts that `chr` made. A root is removed only by teardown-chroot.sh, which refuses while /dev is still mounted in it.
unmount_root() {
  local place
  for place in dev sys proc; do umount -R -l "$1/$place" 2>/dev/null || true; done
}

# make_root <name> <suite> <package...>: a Debian root, built once
make_root() {
  local name=$1 suite=$2 root=$cache/$1 key started=$SECONDS; shift 2
  key="$suite $* $(cksum <"$here/setup-debian-chroot.sh")"
  if [ "$(cat "$root.complete" 2>/dev/null)" = "$key" ] && [ -d "$root/usr/lib/postgresql" ]; then return 0; fi
  rm -f "$root.complete"
  [ ! -e "$root" ] || "$here/teardown-chroot.sh" "$root"
  say "building a Debian root: $suite with $*"
  local failed=
  "$here/setup-debian-chroot.sh" "$suite" "$root" "$@" >"$root.setup.log" 2>&1 || failed=yes
  unmount_root "$root"
  if [ -n "$failed" ]; then
    tail -5 "$root.setup.log" "$root.debootstrap.log" >&2
    say "$suite could not be built"
    return 1
  fi
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
  chmod 755 "$root"
  printf '%s\n' "$key" >"$root.complete"
  say "$suite built in $((SECONDS - started)) s"
}

# wrap_clients <name> <major>: the root's programs as plain executables for any account, run by the root's own loader
wrap_clients() {
  local root=$cache/$1 major=$2 triplet program bin=$cache/clients/$2/bin
  triplet=$(basename "$(dirname "$(find "$root/usr/lib" -maxdepth 2 -name 'libpq.so.5' | head -1)")")
  local loader
  loader=$(find "$root/usr/lib64" "$root/usr/lib/$triplet" "$root/usr/lib" -maxdepth 1 -name 'ld-linux-*.so.?' 2>/dev/null | head -1)
  [ -n "$loader" ] || { say "no loader in $root"; return 1; }
  mkdir -p "$bin"
  for program in "$root/usr/lib/postgresql/$major/bin"/*; do
    # --argv0: the programs look for their siblings beside the name they were called by, which is this directory.
    printf '#!/bin/sh\nexec "%s" --argv0 "$0" --library-path "%s" "%s" "$@"\n' "$loader" "$root/usr/lib/$triplet" "$program" >"$bin/.new"
    chmod 755 "$bin/.new"
    mv "$bin/.new" "$bin/${program##*/}"
  done
  chmod 755 "$cache" "$cache/clients" "$cache/clients/$major" "$bin"
  "$bin/pg_dump" --version | grep -q "(PostgreSQL) $major\." || { say "pg_dump $major does not run"; return 1; }
}

prepare() {
  install_packages
  # Two at a time at most: they are as much unpacking as download.
  local jobs=() failed=
  wanted clients17 && { make_root trixie trixie postgresql-client-17 & jobs+=($!); }
  wanted clients18 && { make_root sid sid postgresql-client-18 & jobs+=($!); }
  local job
  for job in "${jobs[@]}"; do wait "$job" || failed=yes; done
  if wanted docker; then make_root bookworm bookworm postgresql-15 || failed=yes; fi
  if wanted clients17; then wrap_clients trixie 17 || failed=yes; fi
  if wanted clients18; then wrap_clients sid 18 || failed=yes; fi
  [ -z "$failed" ]
}

# --------------------------------------------------------------------------------------------------------- starting them

free_port() { node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })'; }

start_ceph() {
  local port monitor started=$SECONDS
  port=$(free_port) monitor=$(free_port)
  if ! RGW_PORT=$port MON_PORT=$monitor timeout 180 "$here/start-ceph.sh" "$run/ceph" bluestore >"$run/ceph.log" 2>&1 </dev/null; then
    say 'Ceph did not start:'
    tail -20 "$run/ceph.log" >&2
    return 1
  fi
  say "Ceph answers on port $port after $((SECONDS - started)) s"
  echo "$port" >"$run/ceph.port"
}

start_docker() {
  local started=$SECONDS try driver
  for driver in overlay2 vfs; do
    (ulimit -n 1024; DRV=$driver exec "$here/start-docker.sh" "$run/docker") >"$run/dockerd.log" 2>&1 </dev/null &
    echo $! >"$run/dockerd.hostpid"
    for try in $(seq 1 150); do
      docker -H "unix://$run/docker/docker.sock" version >/dev/null 2>&1 && break 2
      kill -0 "$(cat "$run/dockerd.hostpid")" 2>/dev/null || break
      sleep 0.2
    done
    kill "$(cat "$run/dockerd.hostpid")" 2>/dev/null || true
    wait "$(cat "$run/dockerd.hostpid")" 2>/dev/null || true
    rm -f "$run/dockerd.hostpid"
  done
  if [ ! -e "$run/dockerd.hostpid" ]; then
    say 'the Docker engine did not start:'
    tail -20 "$run/dockerd.log" >&2
    return 1
  fi
  install -m 755 "$here/postgres-entrypoint.sh" "$cache/bookworm/usr/local/bin/postgres-entrypoint.sh"
  tar -C "$cache/bookworm" --one-file-system -c . | docker -H "unix://$run/docker/docker.sock" import \
    --change 'ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' --change 'ENV PGDATA=/var/lib/postgresql/data' \
    --change 'ENTRYPOINT ["/usr/local/bin/postgres-entrypoint.sh"]' - "$image" >"$run/import.log" 2>&1 || { tail -5 "$run/import.log" >&2; return 1; }
  say "Docker answers, with $image, after $((SECONDS - started)) s"
  touch "$run/docker.ready"
}

# ------------------------------------------------------------------------------------------------------------------- main

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  say 'needs root on Debian or Ubuntu: the services come from their packages. `make test` runs everything else.'
  exit 1
fi
mkdir -p "$cache"
chmod 755 "$cache"

if [ "${TIDEMARK_PREPARING:-}" = yes ]; then
  prepare
  exit
fi
# -o: no daemon that a package starts may inherit the lock.
prepared=yes
TIDEMARK_PREPARING=yes flock -o "$cache/lock" bash "${BASH_SOURCE[0]}" --only "$services" --prepare || prepared=
[ -z "$prepare_only" ] || { [ -n "$prepared" ]; exit; }

run=$(mktemp -d /tmp/tidemark-services.XXXXXX)
chmod 755 "$run"
# Clean-up has its own process, so that it also happens when this one is killed.
setsid bash "$here/stop-services.sh" --when-gone $$ "$run" </dev/null >/dev/null 2>&1 &
child=
stop() {
  trap '' TERM INT HUP
  if [ -n "$child" ] && kill -TERM "$child" 2>/dev/null; then wait "$child" 2>/dev/null || true; fi
  bash "$here/stop-services.sh" "$run" || true
}
trap 'stop' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
trap 'exit 129' HUP

starting=()
if wanted ceph; then start_ceph & starting+=($!); fi
if wanted docker; then start_docker & starting+=($!); fi
for job in "${starting[@]}"; do wait "$job" || true; done

export TIDEMARK_EXPECT_SERVICES=$services
if [ -e "$run/ceph.port" ]; then
  export TIDEMARK_TEST_S3_ENDPOINT=http://127.0.0.1:$(cat "$run/ceph.port") TIDEMARK_TEST_S3_BUCKET=tidemark-test
  export TIDEMARK_TEST_S3_ACCESS_KEY=TIDETESTKEY TIDEMARK_TEST_S3_SECRET_KEY=tidetestsecrettidetestsecret
  node "$here/make-bucket.mjs" || { say 'the bucket could not be made'; unset TIDEMARK_TEST_S3_ENDPOINT; }
fi
if [ -e "$run/docker.ready" ]; then export TIDEMARK_TEST_DOCKER_HOST=unix://$run/docker/docker.sock TIDEMARK_TEST_DOCKER_IMAGE=$image; fi
bins=()
for bin in /usr/lib/postgresql/*/bin "$cache"/clients/*/bin; do
  if [ -x "$bin/pg_dump" ]; then bins+=("$bin"); fi
done
export TIDEMARK_TEST_PG_BIN=$(IFS=:; echo "${bins[*]}")

"$@" &
child=$!
echo "$child $(sed -E 's/^.*\) //' "/proc/$child/stat" | cut -d' ' -f20)" >"$run/command" 2>/dev/null
code=0
wait "$child" || code=$?
child=
exit "$code"
