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

# Debian and Ubuntu pack ensurepip and the C headers apart from Python itself.
missing=""
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import ensurepip' 2>/dev/null || missing="python${version}-venv"
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$headers/Python.h" ] || missing="$missing python${version}-dev"
if [ -n "$missing" ]; then
    as_root=""
    [ "$(id -u)" -eq 0 ] || as_root="sudo -n"
    echo "bootstrap: installing $missing, which this Python lacks"
    # shellcheck disable=SC2086 # one word a package
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq $missing >/dev/null; } || {
        echo "bootstrap: run 'sudo apt-get install $missing' and try again" >&2
        exit 1
    }
fi

[ -x .bootstrap/bin/python ] || "$python" -m venv .bootstrap
if [ ! -x .bootstrap/bin/hatch ] || [ ! -x .bootstrap/bin/uv ]; then
    .bootstrap/bin/python -m pip install --quiet "hatch>=1.16" "uv>=0.5"
fi
