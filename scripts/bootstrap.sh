#!/bin/sh
# Make .bootstrap/, a small environment with hatch and uv, from nothing but Python 3.10 or newer.
# hatch then makes .venv/ from pyproject.toml. Run again after a change: it does only what is missing.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
    echo "bootstrap: Python 3.10 or newer is needed; set PYTHON=/path/to/python3 if it has another name" >&2
    exit 1
}

# Debian and Ubuntu ship Python without ensurepip; the package python3-venv brings it.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    as_root=""
    [ "$(id -u)" -eq 0 ] || as_root="sudo -n"
    echo "bootstrap: installing python${version}-venv, which this Python lacks"
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq "python${version}-venv"; } || {
        echo "bootstrap: run 'sudo apt-get install python${version}-venv' and try again" >&2
        exit 1
    }
fi

[ -x .bootstrap/bin/python ] || "$python" -m venv .bootstrap
[ -x .bootstrap/bin/hatch ] && [ -x .bootstrap/bin/uv ] || .bootstrap/bin/python -m pip install --quiet "hatch>=1.16" "uv>=0.5"
