# Makes .venv with exactly what requirements.lock names, and the `daybook` command in it.
# Sourced by scripts that have set $root. Speaks on stderr only: stdout belongs to the caller.

daybook_say() { printf '%s\n' "$*" >&2; }

daybook_fail() {
    daybook_say "daybook: $1"
    shift
    for line in "$@"; do daybook_say "  $line"; done
    exit 1
}

# Prints the first Python that is new enough; DAYBOOK_PYTHON names one of your own.
daybook_find_python() {
    local candidate
    for candidate in ${DAYBOOK_PYTHON:+"$DAYBOOK_PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# One word that changes when the installed packages would have to.
daybook_wanted() {
    "$1" -c 'import hashlib, pathlib, sys
lock = pathlib.Path(sys.argv[1], "requirements.lock").read_bytes()
print(hashlib.sha256(lock + sys.argv[1].encode()).hexdigest())' "$root"
}

daybook_make_venv() {
    local python version
    if [ -L "$root/.venv" ] && [ ! -e "$root/.venv" ]; then
        daybook_fail "$root/.venv is a link to a place that does not exist." "Remove it and start again: rm $root/.venv"
    fi
    python=$(daybook_find_python) || daybook_fail "Python 3.11 or newer is needed and was not found." \
        "Debian or Ubuntu: apt-get install python3 python3-venv" \
        "macOS: brew install python@3.12" \
        "If it is installed under another name: DAYBOOK_PYTHON=/path/to/python $0"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        daybook_fail "$python cannot make virtual environments: its venv module is missing." \
            "Debian or Ubuntu: apt-get install python$version-venv"
    daybook_say "daybook: making .venv with Python $version"
    "$python" -m venv --clear "$root/.venv"
}

# Importable from anywhere and a command of its own, without a build: an editable install would
# need a build backend, which the lock does not hold.
daybook_link() {
    local venv=$root/.venv
    "$venv/bin/python" - "$root" <<'PYTHON'
import sys, sysconfig
from pathlib import Path

Path(sysconfig.get_path("purelib"), "daybook.pth").write_text(sys.argv[1] + "\n")
launcher = Path(sys.executable).with_name("daybook")
# Shell first: a path in a #! line may be neither long nor hold spaces.
launcher.write_text(
    "#!/bin/sh\n"
    f"'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n"
    "' '''\n"
    "from api.cli import app\n\n"
    'app(prog_name="daybook")\n'
)
launcher.chmod(0o755)
PYTHON
}

daybook_setup() {
    local python=$root/.venv/bin/python stamp=$root/.venv/daybook-lock
    "$python" -m pip --version >/dev/null 2>&1 || daybook_make_venv
    local wanted
    wanted=$(daybook_wanted "$python")
    if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then return 0; fi
    daybook_say "daybook: installing the locked packages (once; a minute or two)"
    "$python" -m pip install -qq --disable-pip-version-check --require-hashes \
        -r "$root/requirements.lock" >&2 ||
        daybook_fail "The locked packages could not be installed; pip's reason stands above." \
            "Check the network or the package index that pip is set to, and start again."
    daybook_link
    printf '%s\n' "$wanted" >"$stamp"
}

if [ ! -w "$root" ]; then
    # Somebody else's checkout: good enough where its owner has set it up already.
    [ "$(cat "$root/.venv/daybook-lock" 2>/dev/null)" = "$(daybook_wanted "$root/.venv/bin/python" 2>/dev/null)" ] &&
        [ -s "$root/.venv/daybook-lock" ] ||
        daybook_fail "$root cannot be written by $(id -un), and has no complete .venv yet." \
            "Clone it into a folder of your own, or let its owner run it once."
# Two first runs at once must not write one .venv together; where there is no flock, they may not.
elif command -v flock >/dev/null 2>&1; then
    exec 9>"$root/.venv.lock"
    flock 9
    daybook_setup
    exec 9>&-
else
    daybook_setup
fi
