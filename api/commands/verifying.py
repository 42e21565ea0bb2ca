"""`daybook verify`: whether the log is what was chained and signed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from api.auditing.streams import stream_of
from api.auditing.trust import trust_of, verified
from api.commands.audit import progress_bar
from api.commands.options import Data, DatabaseUrl, Json, fail, show
from api.commands.plain import plain_errors
from api.running.deployment import database_for, sealing_of
from domain.errors import InvalidInput

if TYPE_CHECKING:
    from api.auditing.verification import Verification


@plain_errors()
def verify(
    stream: Annotated[
        str | None, typer.Option(help="One stream only, such as credit_account/ws_1.")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="The file in which checkpoints were published.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="The keys to believe, in PEM; default: the deployment's.")
    ] = None,
    json_: Json = False,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Make every hash anew from the events, and compare with the chain and with the signed
    checkpoints, those outside the database included. Exit code 1 if anything differs."""
    # Here, because it brings FastAPI along, for which no other command should wait.
    from api.auditing.verification import seen

    try:
        asked = None if stream is None else stream_of(stream)
    except InvalidInput as error:
        fail(f"--stream {error.message}.", 2)
    trust = trust_of(sealing_of(database_url, data), public_key, checkpoints)
    if checkpoints is not None and not trust.is_there:
        fail(f"there is no file {checkpoints}.", 2)
    with database_for(database_url, data) as database, progress_bar("verifying") as report:
        verdict = verified(database.conninfo(), trust, asked, report)
    told = seen(verdict, trust, stream, verdict.position)
    if json_:
        print(msgspec.json.encode(told).decode())
    else:
        _print(told)
    if not told.intact:
        fail(_broken(told))


def _print(told: "Verification") -> None:
    sealed = told.checkpoints
    print(f"{told.events:,} events verified, up to position {told.position}")
    print(f"chain    {told.chain_hash}")
    outside = "none" if sealed.published is None else f"{sealed.published:,}"
    print(
        f"checkpoints: {sealed.stored:,} in the table, {outside} published; signed for up to "
        f"position {sealed.last_good}, {told.unsealed_events:,} events since"
    )
    if told.problems:
        table = Table("position", "what", "stream", "chained", "found")
        for one in told.problems:
            table.add_row(*(str(part or "") for part in msgspec.structs.astuple(one)))
        show(table)
    if sealed.failed:
        table = Table("checkpoint", "where", "why it fails")
        for failed in sealed.failed:
            table.add_row(*(str(part) for part in msgspec.structs.astuple(failed)))
        show(table)
    if told.intact:
        print("Intact.")


def _broken(told: "Verification") -> str:
    sealed = told.checkpoints
    where = f"from position {told.first_position} on"
    if told.first_position is None:
        where = f"somewhere behind position {sealed.last_good}"
    return (
        f"the log is not what it was, {where}: {told.problem_count:,} problems, "
        f"{sealed.failed_count:,} checkpoints fail."
    )
