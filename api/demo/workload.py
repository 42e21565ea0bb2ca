"""A small business that never was: workspaces, credits and days of usage, made over the real API.

The same ledger gets the same workload once: every write has a key of its own, so a run that was
interrupted is simply run again.
"""

import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from adapters.catalogues import provider_of
from api.client import Api, ApiRefused
from domain.catalogue.catalogue import Catalogue

DAYS = 12
PAYMENT_REQUIRED = 402
TRIAL_CREDIT_USD = 20
MODELS_MAX = 5
ALIASES = ("alice", "bruno", "chiara", "dmitri", "support-bot")
API_KEYS = ("key_web", "key_app", "key_batch")
ACTIONS = ("proposal", "explanation", "diff", "chat")


class Tenant(NamedTuple):
    """One invented customer: what it prepaid (whole USD), and how much it does."""

    name: str
    paid: int
    promo: int
    acts: int
    ends: str = "active"  # or "nearly exhausted", "frozen"


TENANTS = (
    Tenant("Acme Robotics", 120, 10, 140),
    Tenant("Blue Heron Studio", 60, 0, 100),
    Tenant("Cobalt Labs", 40, 5, 70),
    Tenant("Dune Analytics", 0, 2, 25, "nearly exhausted"),
    Tenant("Ember Games", 30, 0, 20, "frozen"),
)
TRIAL = "Try it"
"""The workspace that the printed curl charges: nothing else touches its money."""


@dataclass(frozen=True)
class Market:
    """What the deployment meters: chat by the token, or credits by the action."""

    meter: str
    models: tuple[tuple[str, str | None], ...]  # (model, provider); empty without a price list

    @property
    def is_rated(self) -> bool:
        """Whether acts cost money (and not units)."""
        return bool(self.models)


def market(catalogue: Catalogue) -> Market | None:
    """What can be sold here; None for a catalogue whose meters we do not know."""
    chat = catalogue.meters.get("chat")
    if chat is not None and chat.rate == "tokens":
        shipped = catalogue.price_book.per_million_usd if catalogue.price_book else {}
        return Market("chat", tuple((m, provider_of(m) or None) for m in shipped)[:MODELS_MAX])
    if "chat_generation" in catalogue.meters:
        return Market("chat_generation", ())
    return None


# -- acts ---------------------------------------------------------------------------------------


def chat(draw: random.Random, sold: Market) -> dict[str, Any]:
    """One chat completion of a plausible size; the first models are the popular ones."""
    size = int(draw.lognormvariate(7.2, 0.9))
    model, provider = draw.choices(sold.models, range(len(sold.models), 0, -1))[0]
    return {
        "meter": sold.meter,
        "llm_model": model,
        "provider": provider,
        "tokens": {
            "input": size,
            "cached_input": size // 3 if draw.random() < 0.4 else 0,
            "output": int(draw.lognormvariate(5.5, 0.8)),
        },
        "api_key_id": draw.choice(API_KEYS),
        "model_username": draw.choice(ALIASES),
    }


def generation(draw: random.Random) -> dict[str, Any]:
    """One chat generation of a bot, of one to three credits."""
    bot = draw.randint(1, 3)
    return {
        "meter": "chat_generation",
        "action": draw.choice(ACTIONS),
        "tokens": {"input": draw.randint(200, 2000), "output": draw.randint(20, 800)},
        "bot_id": f"bot_{bot}",
        "thread_id": f"thread_{bot}_{draw.randint(1, 4)}",
    }


def act(draw: random.Random, sold: Market) -> dict[str, Any]:
    """One act of the kind that is sold here; it needs an `event_id`."""
    return chat(draw, sold) if sold.is_rated else generation(draw)


def history(tenant: Tenant, number: int, sold: Market, now: datetime) -> Iterator[dict[str, Any]]:
    """A tenant's acts of the last days, oldest first."""
    draw = random.Random(f"daybook-demo:{number}")  # noqa: S311 - no secret
    count = tenant.acts if sold.is_rated else min(tenant.acts, 22)
    ages = sorted((draw.random() ** 1.5 * DAYS for _ in range(count)), reverse=True)
    for n, age in enumerate(ages):
        body = act(draw, sold)
        if tenant.ends == "nearly exhausted" and sold.is_rated:
            # 78,750 µ each by the prices of `faces`: 25 of them leave 0.03 of 2.00.
            body["llm_model"], body["provider"] = sold.models[0]
            body["tokens"] = {"input": 20_000, "output": 1_000}
        at = now - timedelta(seconds=int(age * 86_400))
        yield body | {
            "event_id": f"demo-{number}-{n}",
            "occurred_at": at.isoformat().replace("+00:00", "Z"),
        }


# -- the past, made once --------------------------------------------------------------------------


def open_workspace(api: Api, name: str, key: str) -> str:
    """A new workspace's id; the same key gives the same one again."""
    made = api.post("/v1/workspaces", {"name": name}, key=key)
    return str(made["workspace_id"])


def generate(api: Api, tenant: Tenant, id: str, number: int, sold: Market, now: datetime) -> None:
    """Give a tenant its credits and its past. Safe to repeat, with the same `now`."""
    if sold.is_rated and tenant.paid:
        api.post(
            "/v1/billing/topup",
            {"amount_usd": tenant.paid, "payment_ref": f"demo-{id}"},
            id,
            key=f"demo-topup-{id}",
        )
    if sold.is_rated and tenant.promo:
        api.post(
            f"/v1/admin/workspaces/{id}/credits",
            {"amount_usd": tenant.promo, "category": "promotional", "reason": "Welcome"},
            id,
            key=f"demo-promo-{id}",
        )
    acts = list(history(tenant, number, sold, now))
    for result in api.post("/v1/usage/batch", acts, id)["results"]:
        if result["status"] >= 400 and result["status"] != PAYMENT_REQUIRED:
            raise ApiRefused(f"{result['event_id']}: {result['problem']['detail']}")
    if tenant.ends == "frozen":
        api.post(
            f"/v1/admin/workspaces/{id}/freeze",
            {"reason": "fraud", "ticket_ref": "DEMO-1"},
            id,
            key=f"demo-freeze-{id}",
        )


def credit_trial(api: Api, id: str) -> None:
    """Give the workspace of the printed curl its 20.00."""
    api.post(
        "/v1/billing/topup",
        {"amount_usd": TRIAL_CREDIT_USD, "payment_ref": f"demo-{id}"},
        id,
        key=f"demo-topup-{id}",
    )


def trial(sold: Market, event_id: str) -> dict[str, Any]:
    """The act of the printed curl: 12,345 in and 678 out."""
    body: dict[str, Any] = {"event_id": event_id, "meter": sold.meter}
    if sold.is_rated:
        body["llm_model"], body["provider"] = sold.models[0]
    else:
        body["action"] = "proposal"
    return body | {"tokens": {"input": 12_345, "output": 678}}


# -- the present: `python -m api.demo.workload` ----------------------------------------------


def trickle(environment: Mapping[str, str] = os.environ) -> None:
    """A few acts a second, for ever, so that the dashboard moves."""
    workspaces = environment["DAYBOOK_TRICKLE_WORKSPACES"].split(",")
    sold = msgspec.json.decode(environment["DAYBOOK_TRICKLE_MARKET"], type=Market)
    draw = random.Random()  # noqa: S311 - no secret
    with Api(environment["DAYBOOK_URL"], environment["DAYBOOK_KEY"]) as api:
        while True:
            time.sleep(draw.expovariate(3.0))
            workspace = draw.choice(workspaces)
            body = act(draw, sold) | {"event_id": f"live-{uuid.uuid4()}"}
            if not sold.is_rated:
                body["mode"] = "record"  # Included credits run out; the dashboard moves on.
            with suppress(ApiRefused):
                try:
                    api.post("/v1/usage", body, workspace)
                except ApiRefused as refused:
                    if refused.code == "insufficient_credits":
                        ref = f"demo-live-{uuid.uuid4()}"
                        payment = {"amount_usd": 25, "payment_ref": ref}
                        api.post("/v1/billing/topup", payment, workspace, key=ref)


def _end(_sign: int, _frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, _end)
    trickle()
