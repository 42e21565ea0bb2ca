"""`scripts/run`: everything a stranger needs to see Daybook work, with one command."""

import asyncio
import contextlib
import json
import os
import shlex
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import typer

from adapters import catalogues
from adapters.sealing import signing_key
from adapters.settings import read_settings
from api.client import Api, ApiRefused
from api.commands.plain import plain_errors
from api.demo import contracts, workload
from api.gateway.provider import Provider
from api.running.access import admin_key, workspace_key
from api.running.child import Child
from api.running.deployment import Deployment, opened, refuse_unfit
from api.running.notes import Notes
from api.running.sandbox import Access, Stripe
from api.serve import CannotServe, Supervisor, listen, say, stopping, url_of
from domain.catalogue.catalogue import Catalogue

READY_S = 120.0


@dataclass(frozen=True)
class Options:
    """How a deployment is started."""

    catalogue: str = "faces"
    host: str = "127.0.0.1"
    port: int | None = None  # None: the usual one, or any that is free
    data: Path | None = None
    workers: int = 1
    test_clock: bool = False
    log: str = "json"
    sandbox: bool = False  # where there are no keys of Stripe: bring a sandbox


@dataclass(frozen=True)
class Running:
    """A deployment that answers requests, until the block that made it is left."""

    url: str
    catalogue: Catalogue
    deployment: Deployment
    supervisor: Supervisor
    stripe: Stripe


@contextlib.contextmanager
def started(options: Options) -> Iterator[Running]:
    """Start a deployment and wait until it is ready; leaving the block stops all of it."""
    # Refused before anything is started.
    catalogue, digest = catalogues.load(options.catalogue)
    _check_environment(options)
    with contextlib.closing(listen(options.host, options.port)) as sock:
        say(
            "starting the database"
            if not os.environ.get("DATABASE_URL")
            else "preparing DATABASE_URL"
        )
        with opened(options.catalogue, options.data, test_clock=options.test_clock) as deployment:
            asyncio.run(refuse_unfit(deployment.database, catalogue, digest))
            url = url_of(sock)
            provider = Provider()
            stripe = Stripe(deployment, url, sandbox=options.sandbox)
            settings = deployment.settings(test_clock=options.test_clock, log=options.log)
            if settings.sealing is not None:
                signing_key(settings.sealing.key)  # refused, or made, before anything is started
            say(f"starting {options.workers} worker(s) on {url}")
            supervisor = Supervisor(
                sock,
                stripe.told(provider.told(settings)).environment() | _public(url),
                workers=options.workers,
                server=deployment.server,
            )
            with supervisor:
                stripe.join(supervisor)
                provider.join(supervisor)
                _await_ready(url, supervisor)
                _remember(url, deployment)
                yield Running(url, catalogue, deployment, supervisor, stripe)


def _check_environment(options: Options) -> None:
    """Refuse what the parts would stumble over, before any of them runs.

    :raises SettingsUnusable: a variable makes no sense.
    """
    ours = {"DAYBOOK_LOG": options.log, "DAYBOOK_TEST_CLOCK": "0", "DAYBOOK_RUNTIME_URL": "later"}
    read_settings({**os.environ, **ours})


def _public(url: str) -> dict[str, str]:
    """Where browsers find us: what was chosen, or else where we listen."""
    return {"DAYBOOK_PUBLIC_URL": os.environ.get("DAYBOOK_PUBLIC_URL") or url}


def _await_ready(url: str, supervisor: Supervisor) -> None:
    until = time.monotonic() + READY_S
    with httpx.Client(trust_env=False, timeout=2.0) as http:
        while time.monotonic() < until and not supervisor.is_hopeless:
            with contextlib.suppress(httpx.TransportError):
                if http.get(f"{url}/readyz").status_code == 200:
                    return
            time.sleep(0.03)
    raise CannotServe("The server did not become ready; its log above says why.")


def _remember(url: str, deployment: Deployment) -> None:
    """Note where this runs, for the commands that are given no address."""
    Notes(deployment.state / "last.json").keep(
        url=url,
        notes=deployment.notes.path.name,
        database_url=deployment.database.runtime_url,
        owner_database_url=deployment.database.owner_url,
        cell=deployment.database.cell,
        embedded=deployment.server is not None,
        process=os.getpid(),
    )


# -- the demo -------------------------------------------------------------------------------------


def furnish(running: Running, api: Api, sold: workload.Market) -> list[dict[str, str]]:
    """The demo's workspaces [{"id", "name", "key"}], made once and remembered."""
    deployment, notes = running.deployment, running.deployment.notes
    kept = notes.read()
    done: list[dict[str, str]] = kept.get("workspaces", [])
    if done and not _is_there(api, done[0]["id"]):
        done, kept = [], {}  # The ledger is another one than we remember.
    now = datetime.fromisoformat(kept.get("workload_from") or api.now().isoformat())
    notes.keep(workload_from=now.isoformat(), workspaces=done)
    for number, tenant in list(enumerate(workload.TENANTS))[len(done) :]:
        say(f"inventing {tenant.name}, {tenant.ends}")
        id = workload.open_workspace(api, tenant.name, f"demo-{number}")
        workload.generate(api, tenant, id, number, sold, now)
        _sign(running, api, id, tenant.name)
        key = workspace_key(deployment.database, id, tenant.name)
        done = [*done, {"id": id, "name": tenant.name, "key": key}]
        notes.keep(workspaces=done)
    if len(done) == len(workload.TENANTS) or not _is_untouched(api, done[-1]["id"]):
        number = len(done)
        id = workload.open_workspace(api, workload.TRIAL, f"demo-{number}")
        if sold.is_rated:
            workload.credit_trial(api, id)
        key = workspace_key(deployment.database, id, workload.TRIAL)
        done = [*done, {"id": id, "name": workload.TRIAL, "key": key}]
        notes.keep(workspaces=done)
    return done


def _sign(running: Running, api: Api, id: str, name: str) -> None:
    """What a tenant agreed to, where nobody's money moves."""
    contract = contracts.contract_of(running.catalogue, name)
    access = running.stripe.access
    if contract and access and access.is_sandbox and access.url:
        contracts.carry_out(api, access.url, id, contract)


def _is_there(api: Api, id: str) -> bool:
    try:
        api.get(f"/v1/workspaces/{id}", id)
    except ApiRefused as refused:
        if refused.status == 404:
            return False
        raise
    return True


def _is_untouched(api: Api, id: str) -> bool:
    """Whether nobody has spent anything of it yet."""
    balance = api.get("/v1/billing/balance", id, consistency="strong")
    untouched = workload.TRIAL_CREDIT_USD * 1_000_000
    used = any(bucket["used"] for bucket in balance["buckets"])
    return not used and balance["balance_micros"] in (0, untouched)


def _trickle(running: Running, key: str, sold: workload.Market, demo: list[dict[str, str]]) -> None:
    busy = [
        one["id"]
        for one, tenant in zip(demo, workload.TENANTS, strict=False)
        if tenant.ends == "active"
    ]
    environment = {
        "DAYBOOK_URL": running.url,
        "DAYBOOK_KEY": key,
        "DAYBOOK_TRICKLE_WORKSPACES": ",".join(busy),
        "DAYBOOK_TRICKLE_MARKET": msgspec.json.encode(sold).decode(),
    }
    running.supervisor.add(Child("live usage", "api.demo.workload", environment=environment))


def curl(url: str, key: str, body: dict[str, Any]) -> str:
    """One line for a shell that posts a usage event."""
    return (
        f"curl -sS {url}/v1/usage -H 'Authorization: Bearer {key}'"
        f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )


def _announce(running: Running, key: str, demo: list[dict[str, str]], trial: str | None) -> None:
    print(f"\nDashboard   {running.url}/")
    print(f"Admin key   {key}")
    for one in demo:
        print(f"Workspace   {one['id']}  {one['name']}")
    if running.stripe.access is not None:
        print(f"Stripe      {_kind(running.stripe.access)}")
    if trial:
        print(f"\nCharge a completion (sending it twice charges once):\n\n{trial}")
    print("\nCtrl-C stops everything.", flush=True)


def _kind(access: Access) -> str:
    if access.is_sandbox:
        return f"a sandbox, no money moves; cards like 4242 4242 4242 4242 ({access.url})"
    return "the real one, by STRIPE_SECRET_KEY"


def main(
    catalogue: Annotated[str, typer.Option(help="faces, flarex, or a YAML file.")] = "faces",
    json_: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when ready, for programs.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: 8440, or a free one.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder that keeps everything.")] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Invent no workspaces.")] = False,
    test_clock: Annotated[
        bool, typer.Option("--test-clock", help="Serve /v1/test/clock, in a ledger of its own.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="HTTP processes.")] = 1,
) -> None:
    """Start Daybook with its own database, or on DATABASE_URL, and show how to use it."""
    # A person wants to see the address and the key; requests are a DAYBOOK_LOG=text away.
    log = os.environ.get("DAYBOOK_LOG") or ("json" if json_ else "quiet")
    options = Options(catalogue, "127.0.0.1", port, data, workers, test_clock, log, sandbox=True)
    with plain_errors(), stopping(), started(options) as running:
        key = admin_key(running.deployment.database, running.deployment.notes)
        demo: list[dict[str, str]] = running.deployment.notes.read().get("workspaces", [])
        sold = None if empty else workload.market(running.catalogue)
        trial = None
        if sold is not None:
            with Api(running.url, key) as api:
                demo = furnish(running, api, sold)
            act = workload.trial(sold, f"try-{uuid.uuid4().hex[:8]}")
            trial = curl(running.url, demo[-1]["key"], act)
        if json_:
            _print_line(running, key, demo)
        else:
            _announce(running, key, demo, trial)
            if sold is not None and not test_clock:
                _trickle(running, key, sold, demo)
        threading.Event().wait()


def _print_line(running: Running, key: str, demo: list[dict[str, str]]) -> None:
    line = {
        "url": running.url,
        "admin_key": key,
        "database_url": running.deployment.database.runtime_url,
        "owner_database_url": running.deployment.database.owner_url,
        "workspaces": demo,
        "stripe": running.stripe.access and running.stripe.access.line(),
    }
    print(json.dumps(line), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(main)
    app(prog_name="scripts/run")
