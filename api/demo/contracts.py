"""What invented customers agreed to: plans that are subscribed to with a card of the sandbox, bots,
overage, a smaller plan for later. Only where a sandbox plays Stripe: here no money moves."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from adapters.stripe.sandbox.remote import Control, Refused
from api.client import Api, ApiRefused
from api.demo.workload import ACTIONS
from domain.catalogue.catalogue import Catalogue

PATIENCE_S = 30.0
CARD = "4242424242424242"
BOTS = ("Support desk", "Data analyst", "Release notes")
CREDITS = 41
"""Of a large call, on average: by the rules of `flarex`, 41,000 tokens."""


class Contract(NamedTuple):
    """A plan with what was done on its first day: so many calls of ``CREDITS``, overage or not;
    and the plan that was chosen for afterwards."""

    plan: str
    calls: int = 0
    overage: bool = False
    afterwards: str | None = None


CONTRACTS: Mapping[str, Mapping[str, Contract]] = {
    "faces": {"Acme Robotics": Contract("connect")},
    "flarex": {
        "Acme Robotics": Contract("pro", calls=30),
        "Blue Heron Studio": Contract("starter", calls=27, overage=True),
        "Cobalt Labs": Contract("pro", calls=12, overage=True, afterwards="starter"),
        "Dune Analytics": Contract("starter", calls=24),  # 984 of 1,000
    },
}


def contract_of(catalogue: Catalogue, tenant: str) -> Contract | None:
    """What a tenant of the demo agreed to, if this catalogue sells it."""
    found = CONTRACTS.get(catalogue.catalogue, {}).get(tenant)
    return found if found and found.plan in catalogue.plans else None


def carry_out(api: Api, sandbox: str, id: str, contract: Contract) -> None:
    """Subscribe a workspace, and do what was done since. Safe to repeat. ``sandbox`` is where the
    sandbox of Stripe listens."""
    control = Control(sandbox)
    try:
        _subscribe(api, control, id, contract.plan)
    finally:
        control.close()
    if "bots" not in _plan(api, contract.plan)["limits"]:
        return
    for number, name in enumerate(BOTS, 1):
        bot = {"bot_id": f"bot_{number}", "name": name}
        api.post(f"/v1/workspaces/{id}/bots", bot, id, key=f"demo-bot-{number}-{id}")
    if contract.overage:
        api.put("/v1/billing/overage", {"enabled": True}, id, key=f"demo-overage-{id}")
    if contract.calls:
        api.post("/v1/usage/batch", list(_calls(contract.calls)), id)
    if contract.afterwards and not _contract(api, id)["scheduled_change"]:
        asked = {"plan": contract.afterwards}
        quote = api.post("/v1/billing/plan-change/preview", asked, id)["preview_id"]
        accepted = {"preview_id": quote}
        api.post("/v1/billing/plan-change/confirm", accepted, id, key=f"demo-{quote}")


def _subscribe(api: Api, control: Control, id: str, plan: str) -> None:
    if _contract(api, id)["plan"] == plan:
        return
    where = f"/v1/billing/checkout?plan={plan}"
    session = api.post(where, {}, id, key=f"demo-checkout-{id}")["session_id"]
    with suppress(Refused):  # paid in a run that was interrupted: the webhook is on its way
        control.post(f"/checkout/{session}", outcome="pay", card=CARD)
    until = time.monotonic() + PATIENCE_S
    while _contract(api, id)["plan"] != plan:
        if time.monotonic() > until:
            raise ApiRefused(f"The sandbox's webhook about {id} did not arrive.")
        api.now()  # on a test clock nothing happens by itself
        time.sleep(0.02)


def _contract(api: Api, id: str) -> Any:
    return api.get("/v1/billing/subscription", id)


def _plan(api: Api, name: str) -> Any:
    return next(plan for plan in api.get("/v1/plans")["data"] if plan["plan"] == name)


def _calls(count: int) -> Iterator[dict[str, Any]]:
    """Calls of all sizes; what one is larger than the average, the next is smaller."""
    draw = random.Random(f"daybook-demo:{count}")  # noqa: S311 - no secret
    sizes = [CREDITS] * (count % 2)
    for _ in range(count // 2):
        apart = draw.randint(-35, 35)
        sizes += [CREDITS + apart, CREDITS - apart]
    for number, size in enumerate(sizes):
        written = draw.randint(200, 4_000)
        bot = draw.randint(1, len(BOTS))
        yield {
            "event_id": f"demo-today-{number}",
            "meter": "chat_generation",
            "action": draw.choice(ACTIONS),
            "tokens": {"input": size * 1_000 - written, "output": written},
            "bot_id": f"bot_{bot}",
            "thread_id": f"thread_{bot}_{draw.randint(1, 4)}",
        }
