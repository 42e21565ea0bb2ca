"""Errors of the command line: one plain line that names the cure, never a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import typer

from adapters.catalogues import CatalogueUnusable
from adapters.postgres.database import DatabaseUnusable
from adapters.postgres.embedded import EmbeddedServerError
from adapters.postgres.migrations import MigrationRefused
from adapters.sealing import SealUnusable
from adapters.settings import SettingsUnusable
from api.client import ApiRefused
from api.demo.trace import TraceUnusable
from api.serve import CannotServe
from domain.errors import Refusal

PLAIN = (
    ApiRefused,
    CannotServe,
    CatalogueUnusable,
    DatabaseUnusable,
    EmbeddedServerError,
    MigrationRefused,
    SealUnusable,
    SettingsUnusable,
    TraceUnusable,
    Refusal,
)
"""What we raise ourselves; each says in its message what to do about it."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what may go wrong into one line on stderr and exit code 1."""
    try:
        yield
    except PLAIN as error:
        _fail(str(error))
    except psycopg.OperationalError as error:
        said = str(error).strip().splitlines() or ["it went away"]
        _fail(f"The database does not answer ({said[0]}): is it running? scripts/run starts it.")
    except httpx.TransportError as error:
        _fail(f"The server does not answer ({type(error).__name__}): is it running?")


def _fail(message: str) -> None:
    typer.echo(f"daybook: {message}", err=True)
    raise typer.Exit(1)
