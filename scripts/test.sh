#!/bin/sh
# Runs the tests and ends with one line: N passed, N failed, N skipped. Arguments are parts of file names.
#   scripts/test.sh [--services] [filter…]
set -u
cd "$(dirname "$0")/.."
kind=test
projects='--project unit --project servers'
if [ "${1:-}" = --services ]; then
  kind=services
  projects='--project services'
  shift
fi
result=.cache/results/$kind.json
rm -f "$result"
# shellcheck disable=SC2086
# Not by PATH: npm, which fetches embedded servers, must run on the Node it came with, or it misses its global npmrc.
node_modules/.bin/node node_modules/.bin/vitest run $projects --reporter=default --reporter=json --outputFile.json="$result" "$@"
code=$?
# A chosen few cannot be asked to have used every service.
[ $# -eq 0 ] || unset TIDEMARK_EXPECT_SERVICES
node scripts/test-summary.mjs "$result" || [ "$code" -ne 0 ] || code=1
exit "$code"
