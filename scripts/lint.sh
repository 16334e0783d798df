#!/bin/sh
# Every check that needs no server. All of them run, so that one run shows all there is to mend.
set -u
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
failed=
check() {
  printf 'lint: %s\n' "$1"
  shift
  "$@" || failed=yes
}
check 'types' tsc -p tsconfig.json
check 'rules and walls' oxlint --deny-warnings
check 'formatting' oxfmt --check
check 'unused code' knip
check 'code that only tests use' knip --production
check 'dependency budget' node scripts/budget.mjs
check 'lock file' node scripts/complete-lock.mjs --check
check 'shell scripts' sh -c 'for file in bin/tidemark scripts/*.sh; do sh -n "$file" || exit 1; done; for file in .ci/run test/services/*.sh test/services/chr; do bash -n "$file" || exit 1; done'
[ -z "$failed" ] || { echo 'lint: failed' >&2; exit 1; }
echo 'lint: all well'
