# Sets up what scripts/demo and scripts/test share; sourced by them, at the root of the repository.
# Assumes python3.11 or newer with pip and venv, and npm; installs only into .venv and
# node_modules of the two package-lock.json, but for what scripts/test needs of the system and may install.

say() { printf '==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The first Python that is new enough; the plain name first, as that is what the user runs.
find_python() {
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed (tried python3, python3.13, python3.12, python3.11)"
}

# install_python [ARGUMENTS of uv sync]
install_python() {
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python) || exit 1
        say "making .venv with $("$python" --version)"
        "$python" -m venv .venv || fail "venv does not work here; on Debian: apt-get install python3-venv"
    fi
    if ! .venv/bin/python -m uv --version >/dev/null 2>&1; then
        say "installing uv into .venv"
        # A .venv that uv made has no pip.
        .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
        .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
    fi
    say "installing the Python packages of uv.lock"
    # --inexact: otherwise uv would remove itself, as the lock does not name it.
    UV_PROJECT_ENVIRONMENT=.venv .venv/bin/python -m uv sync --quiet --frozen --inexact "$@"
}

install_web() {
    command -v npm >/dev/null || fail "npm is needed to build the page; on Debian: apt-get install npm"
    install_npm_packages web
}

# Of the operators' custom resources, against which the tests check the overlay for production.
install_models() {
    install_npm_packages tests/deployment/operators
}

install_npm_packages() {
    if [ ! -e "$1/node_modules/.package-lock.json" ] ||
        [ "$1/package-lock.json" -nt "$1/node_modules/.package-lock.json" ]; then
        say "installing the npm packages of $1/package-lock.json"
        (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
    fi
}

# Builds the page if it was never built or a source is newer than what was built.
build_page() {
    built=src/observatory/interfaces/web/dist/index.html
    if [ -e "$built" ] &&
        [ -z "$(find web -name node_modules -prune -o -type f -newer "$built" -print | head -n 1)" ]; then
        return
    fi
    install_web
    say "building the page"
    (cd web && npm run --silent build)
}

# The servers of the distributed shape, against which its backends are tested; needs install_python.
install_servers() {
    .venv/bin/python -m development.installation --install ||
        fail "the tests run against real servers: install what is missing"
}
