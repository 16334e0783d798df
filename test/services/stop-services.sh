#!/bin/bash
# Ends what with-services.sh started in a directory, by process id, and removes the directory.
#   stop-services.sh <run directory>
#   stop-services.sh --when-gone <pid> <run directory>     waits for that process to end first
set -uo pipefail

# A process id may have been taken over by another process: the 22nd field of its stat, the start time, tells.
start_time() { { sed -E 's/^.*\) //' "/proc/$1/stat" | cut -d' ' -f20; } 2>/dev/null; }

if [ "${1:-}" = --when-gone ]; then
  owner=$2; shift 2
  since=$(start_time "$owner")
  while [ -n "$since" ] && [ "$(start_time "$owner")" = "$since" ]; do sleep 1; done
fi
run=${1:?run directory}
case $run in /tmp/tidemark-services.*) ;; *) echo "stop-services: $run is not one of ours" >&2; exit 2 ;; esac
[ -d "$run" ] || exit 0
# One of the two that want to clean up does; the other leaves.
mkdir "$run/stopping" 2>/dev/null || exit 0

# The command that the services were started for, when it outlived the one that waited for it.
if [ -s "$run/command" ]; then
  read -r command since <"$run/command"
  [ "$(start_time "$command")" != "$since" ] || kill -TERM "$command" 2>/dev/null
fi

# Ours only if its command line names our directory.
is_ours() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF "$run"; }

# end <seconds> <pid...>: TERM, wait, KILL
end() {
  local patience=$(($1 * 10)) pid alive; shift
  for pid in "$@"; do is_ours "$pid" && kill -TERM "$pid" 2>/dev/null; done
  while [ "$patience" -gt 0 ]; do
    alive=
    for pid in "$@"; do is_ours "$pid" && alive=yes; done
    [ -n "$alive" ] || return 0
    sleep 0.1
    patience=$((patience - 1))
  done
  for pid in "$@"; do is_ours "$pid" && kill -KILL "$pid" 2>/dev/null; done
}

if [ -S "$run/docker/docker.sock" ]; then
  containers=$(timeout 20 docker -H "unix://$run/docker/docker.sock" ps -aq 2>/dev/null)
  # shellcheck disable=SC2086
  [ -z "$containers" ] || timeout 60 docker -H "unix://$run/docker/docker.sock" rm -f $containers >/dev/null 2>&1
fi
# end_files <seconds> <file…>: the processes whose ids stand in the files
end_files() {
  local patience=$1 file pids=(); shift
  for file in "$@"; do [ -s "$file" ] && pids+=("$(cat "$file")"); done
  [ ${#pids[@]} -eq 0 ] || end "$patience" "${pids[@]}"
}
# Nothing in Ceph is worth a flush; the engine has containers to end and mounts to release.
end_files 1 "$run"/ceph/run/{rgw,osd,mon}.hostpid
end_files 20 "$run/dockerd.hostpid" "$run/docker/dockerd.pid"
end_files 5 "$run/docker/exec/containerd/containerd.pid"
# What those had started and did not end (a mon or osd whose start was interrupted, a container's shim), by id as well.
rest=()
for process in /proc/[0-9]*; do
  pid=${process#/proc/}
  [ "$pid" != $$ ] && [ "$pid" != "$PPID" ] && { tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null | grep -qE "(^|[ =/])$run/(ceph|docker)" && rest+=("$pid")
done
[ ${#rest[@]} -eq 0 ] || end 5 "${rest[@]}"

while read -r _ place _; do umount -l "$place" 2>/dev/null; done < <(grep " $run/" /proc/mounts | sort -r -k2)
if grep -q " $run/" /proc/mounts; then echo "stop-services: still mounted below $run, not removing it" >&2; exit 1; fi
rm -rf --one-file-system "$run"
