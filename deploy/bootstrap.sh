#!/bin/sh
# Makes .venv what uv.lock says, on a machine with nothing but Python, and becomes the program named:
#   deploy/bootstrap.sh [--dev] PROGRAM [ARGUMENT…]      a program of .venv/bin; --dev: with the tools of the tests
# As root or not, with or without a home; a second run costs a checksum.
set -eu
unset PYTHONDONTWRITEBYTECODE # else each of many processes compiles all that it imports, at every start
cd "$(dirname "$0")/.."

fail() {
    echo "error: $*" >&2
    exit 1
}

# Runs in the background so that a signal ends it with us: a shell waits for a foreground child first.
run() {
    "$@" &
    child=$!
    trap 'kill "$child" 2>/dev/null; wait "$child"; exit 130' INT TERM HUP
    wait "$child"
    status=$?
    trap - INT TERM HUP
    return "$status"
}

find_python() {
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 found: install one (for example: apt-get install python3)"
}

# One folder for uv, its downloads and the engines; in the clone where no home can be written.
cache_folder() {
    folder="${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/holdfast"
    if ! mkdir -p "$folder" 2>/dev/null || [ ! -w "$folder" ]; then
        export XDG_CACHE_HOME="$PWD/.holdfast/cache"
        folder="$XDG_CACHE_HOME/holdfast"
        mkdir -p "$folder"
    fi
}

# PATH, else a virtual environment of its own, else (Debian without python3-venv) pip into a folder.
find_uv() {
    uv=$(command -v uv) && return
    for uv in "$folder/uv/bin/uv" "$folder/uv-target/bin/uv"; do
        "$uv" --version >/dev/null 2>&1 && return
    done
    echo "Getting uv, the installer of the locked environment." >&2
    python=$(find_python) || exit 1
    uv="$folder/uv/bin/uv"
    if run "$python" -m venv "$folder/uv" >/dev/null 2>&1; then
        run "$folder/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv && return
    fi
    rm -rf "$folder/uv"
    uv="$folder/uv-target/bin/uv"
    run "$python" -m pip install --quiet --disable-pip-version-check --target "$folder/uv-target" uv ||
        fail "uv could not be installed: install python3-venv or uv (https://docs.astral.sh/uv) and try again"
}

# What the environment depends on; the path, because an environment doesn't move with its clone.
stamp() {
    { echo "$PWD" && cat uv.lock pyproject.toml; } | cksum
}

sync_environment() {
    find_uv
    [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || set -- --python "$(find_python)"
    echo "Installing the locked environment." >&2
    [ "$group" = dev ] || set -- --no-dev --inexact "$@" # what a test run has installed stays
    run env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv "$uv" sync --locked --quiet "$@" ||
        fail "the environment could not be installed: see above; the package index must be reachable"
    for name in run "$group"; do
        stamp >".venv/.holdfast-$name"
    done
}

group=run
if [ "$1" = --dev ]; then
    group=dev
    shift
fi
cache_folder
[ "$(cat ".venv/.holdfast-$group" 2>/dev/null)" = "$(stamp)" ] || sync_environment
program=$1
shift
exec ".venv/bin/$program" "$@"
