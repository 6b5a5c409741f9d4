# Sourced by the scripts beside it: makes .venv with the tested set of packages, once, and whenever that set changes.
# ensure_environment EXTRAS     EXTRAS is empty, or [dev]

root=$(unset CDPATH && cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
python="$root/.venv/bin/python"

ensure_environment() {
    local stamp="$root/.venv/installed$1"
    [ -x "$python" ] && wanted_set | cmp -s - "$stamp" && return
    (
        flock 9
        [ -x "$python" ] && wanted_set | cmp -s - "$stamp" && return
        echo "sweep: installing the tested packages into $root/.venv (once, about a minute)" >&2
        "$python" -m pip --version >/dev/null 2>&1 || "$(newest_python)" -m venv --clear "$root/.venv"
        # what builds packages comes first: in pip's own build environments the constraints would not hold
        "$python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" \
            hatchling editables setuptools wheel
        "$python" -m pip install --quiet --disable-pip-version-check --no-build-isolation \
            -c "$root/constraints.txt" -e "$root$1"
        wanted_set >"$stamp"
        wanted_set >"$root/.venv/installed"
    ) 9>"$root/.venv.lock" >&2
}

wanted_set() {
    echo "$root"
    cat "$root/constraints.txt" "$root/pyproject.toml"
}

newest_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "sweep: needs Python 3.11 or newer, and found none on PATH" >&2
    exit 1
}
