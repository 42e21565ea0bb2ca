"""What stories start from: the example catalogues of the specification, prices, accounts.

Amounts in µ. The clock starts at 2026-06-01T00:00:00Z, as in the specification's section 8.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from domain.account.allowance_facts import AllowanceGranted
from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import CreditAccountOpened, Credited, SpendPolicySet
from domain.account.usage import Tokens, Usage
from domain.catalogue.catalogue import Catalogue, read_catalogue
from domain.catalogue.price_book import PRICE_BOOK, PriceBook, PriceEntry
from domain.commands import Book
from domain.facts import Context, Fact
from domain.identity import account_id
from domain.ledger import Ledger

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
USD = 1_000_000
PRICES = {  # µ per million tokens: input, cached input, output
    "gpt-5.4": (3_000_000, 300_000, 15_000_000),
    "gpt-5.4-mini": (250_000, 25_000, 2_000_000),
    "gpt-4o-mini": (150_000, 75_000, 600_000),
    "claude-sonnet-4-6": (3_000_000, 300_000, 15_000_000),
}


def at(moment: datetime = NOW, **later: float) -> Context:
    """A context at an instant, or that much later: ``at(days=1)``."""
    return Context(moment + timedelta(**later), actor="service:test")


def faces(**changes: Any) -> Catalogue:
    """The `faces` catalogue of Appendix A, with some of its fields changed."""
    document: dict[str, Any] = {
        "catalogue": "faces",
        "currency": "usd",
        "default_plan": "free",
        "price_book": {
            "version": 1,
            "effective_from": "2026-01-01T00:00:00Z",
            "markup_bps": 500,
            "per_million_usd": {"gpt-5.4": ["3.00", "0.30", "15.00"]},
        },
        "oauth_providers": {"openai": {"models": ["gpt-5.4"]}},
        "meters": {
            "chat": {"rate": "tokens", "waterfall": ["oauth", "wallet"]},
            "compile": {
                "rate": "tokens",
                "bucket": "compile_tokens",
                "waterfall": ["oauth", "allowance", "wallet_if_overflow"],
                "entry_rule": "covers_estimate",
            },
            "interview": {
                "rate": "tokens",
                "bucket": "compile_tokens",
                "waterfall": ["oauth", "allowance", "wallet"],
            },
        },
        "plans": {
            "free": {
                "price_minor": 0,
                "buckets": {"compile_tokens": {"units": 5_000, "reset": "never"}},
            },
        },
    }
    return read_catalogue(document | changes)


def prices(
    markup_bps: int = 0, versions: tuple[tuple[datetime, int], ...] = ((LONG_AGO, 3_000_000),)
) -> PriceBook:
    """A price book: for each version when it starts and what gpt-5.4's input costs from then."""
    book = PriceBook(PRICE_BOOK)
    for start, gpt_input in versions:
        publish(book, start, gpt_input, markup_bps)
    return book


def entries(gpt_input: int = 3_000_000) -> tuple[PriceEntry, ...]:
    """The prices of section 8, gpt-5.4's input as given."""
    table = PRICES | {"gpt-5.4": (gpt_input, *PRICES["gpt-5.4"][1:])}
    return tuple(PriceEntry(model, *price) for model, price in table.items())


def publish(
    book: PriceBook, start: datetime, gpt_input: int, markup_bps: int = 0, now: datetime = LONG_AGO
) -> int:
    """Publish one more version; returns its number."""
    digest = sha256(f"{start}{gpt_input}{markup_bps}".encode()).hexdigest()
    return book.publish(start, "usd", markup_bps, entries(gpt_input), digest, Context(now))


def new_account(name: str = "acme", catalogue: Catalogue | None = None) -> CreditAccount:
    """An opened account on the default plan, with nothing in its wallet and nothing pending."""
    catalogue = catalogue or faces()
    account = CreditAccount(account_id(name))
    plan = catalogue.plans[catalogue.default_plan]
    stamp = account.stamp(at(), f"workspace:{name}")
    account.record(CreditAccountOpened(**stamp, workspace_id=name, currency="usd"))
    account.record(
        SpendPolicySet(
            **account.stamp(at(), "policy:2"),
            policy_version=1,
            subscription_id="sub_1",
            plan_id=catalogue.default_plan,
            plan_version=1,
            waterfalls={
                meter: tuple(s for s in terms.waterfall if s != "oauth")
                for meter, terms in catalogue.meters.items()
            },
            cycle_id="cycle-1",
            period_start=NOW,
            period_end=NOW + timedelta(days=30),
        )
    )
    for bucket, terms in plan.buckets.items():
        account.record(
            AllowanceGranted(
                **account.stamp(at(), f"allowance:{bucket}"),
                bucket=bucket,
                units=terms.units,
                cycle_id="cycle-1",
                reset=terms.reset,
                why="subscription",
            )
        )
    account.collect_events()
    return account


def account_with(micros: int) -> CreditAccount:
    """An account with one paid grant of this size, or none when it is 0."""
    account = new_account()
    if micros:
        account.credit(
            micros, "manual_payment_ref", "credit:pay_a", at(), payment_attempt_id="pay_a"
        )
        account.collect_events()
    return account


def chat(
    event_id: str = "u1",
    model: str = "gpt-5.4",
    input: int = 0,
    output: int = 0,
    cached: int = 0,
    **fields: Any,
) -> Usage:
    """A chat completion."""
    return Usage(
        event_id=event_id,
        meter=fields.pop("meter", "chat"),
        llm_model=model,
        tokens=Tokens(input, cached, output),
        **fields,
    )


def charged(account: CreditAccount, usage: Usage, **given: Any) -> list[Fact]:
    """Charge an act and return the facts that it recorded. ``given``: catalogue, book, context."""
    account.charge(
        usage,
        given.get("catalogue") or faces(),
        given.get("book") or prices(),
        given.get("context") or at(),
    )
    return [recorded.fact for recorded in account.collect_events()]


def call(event_id: str, micros: int = 1_000, **fields: Any) -> Usage:
    """A call that costs exactly this much without markup."""
    return chat(event_id, "gpt-5.4-mini", input=4 * micros, **fields)


def pending(account: CreditAccount) -> list[Fact]:
    """What was decided and is not yet committed; it counts as committed from here on."""
    return [recorded.fact for recorded in account.collect_events()]


def credited(account: CreditAccount, **credit: object) -> Credited:
    """Credit an account and return the fact."""
    account.credit(**credit)  # type: ignore[arg-type]
    fact = account.collect_events()[-1].fact
    assert isinstance(fact, Credited)
    return fact


def promo(account: CreditAccount, amount: int, **terms: object) -> Credited:
    """Give promotional credits and return the fact."""
    cause = f"grant:{account.version}"
    return credited(
        account,
        amount=amount,
        source="promo",
        cause=cause,
        context=at(),
        category="promotional",
        **terms,
    )


def s01(event_id: str = "u1", output: int = 0) -> Usage:
    """The call of scenario S01: 37 035 µ without markup; with 678 output tokens 47 205 µ."""
    return chat(event_id, input=12_345, output=output)


async def open_ledger(book: Book, *workspaces: str, markup_bps: int = 0, **changes: Any) -> Ledger:
    """A ledger with a catalogue, prices and these workspaces in it; anyone may do so again."""
    ledger = Ledger(book)
    catalogue = faces(**changes)
    await ledger.publish_catalogue(catalogue, "test", Context(LONG_AGO))
    await ledger.publish_prices(LONG_AGO, "usd", markup_bps, entries(), "v1", Context(LONG_AGO))
    for name in workspaces:
        await ledger.create_workspace(name, name, "owner", "UTC", at())
    return ledger
