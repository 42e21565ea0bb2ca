"""Holds: money and units set aside before a call runs, and how each one ends."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from domain.account.usage import Tokens
from domain.facts import Fact

if TYPE_CHECKING:
    from domain.account.state import AccountState

Route = Literal["oauth", "allowance", "wallet", "overage"]
BillingSource = Literal["oauth", "compile", "credits"]
ONLY: dict[BillingSource | None, tuple[str, ...] | None] = {
    None: None,
    "oauth": ("oauth",),
    "compile": ("allowance",),
    "credits": ("wallet", "wallet_if_overflow"),
}
"""The sources that a caller who asks for one leaves of a waterfall; None: all of them."""
Release = Literal["upstream_failed", "client_cancelled", "voided"]


class Labels(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Whose call it is: what usage is grouped by and budgets are set on."""

    llm_model: str | None = None
    api_key_id: str | None = None
    model_username: str | None = None
    face_id: str | None = None
    bot_id: str | None = None
    thread_id: str | None = None
    provider: str | None = None


class Hold(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An authorisation that stands: µ of the wallet, units of a bucket, and until when."""

    hold_id: str
    meter: str
    route: Route
    amount: int
    units: int
    bucket: str | None
    expires_at: datetime
    placed_at: datetime
    overage_on: bool = False
    labels: Labels = Labels()
    overage: int = 0  # µ that it may come to beyond the plan: budgets count it
    short: int = 0  # µ of the wallet that it may need beside, and did not find
    unit_price: int | None = None  # µ of a unit beyond the plan, as agreed to at the start
    source: BillingSource | None = None  # the one that was asked for: no other pays in the end


class HoldPlaced(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A call may run; what it is expected to cost is set aside."""

    hold_id: str
    meter: str
    route: Route
    amount: int
    units: int
    estimate: Tokens
    expires_at: datetime
    policy_version: int
    bucket: str | None = None
    overage_on: bool = False
    overage: int = 0
    short: int = 0
    unit_price: int | None = None
    request: Labels = Labels()
    source: BillingSource | None = None

    @property
    def hold(self) -> Hold:
        """What stands from here on."""
        return Hold(
            self.hold_id,
            self.meter,
            self.route,
            self.amount,
            self.units,
            self.bucket,
            self.expires_at,
            self.recorded_at,
            self.overage_on,
            self.request,
            self.overage,
            self.short,
            self.unit_price,
            self.source,
        )

    @property
    def promise(self) -> Hold:
        """What is left of a hold that is over: who was to pay, and nothing set aside."""
        return msgspec.structs.replace(self.hold, amount=0, units=0, overage=0, short=0)

    def apply(self, account: AccountState) -> None:
        account.add_hold(self.hold)


class HoldExtended(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens still flow: the hold stands longer, and may set more aside."""

    hold_id: str
    expires_at: datetime
    amount: int
    units: int

    def apply(self, account: AccountState) -> None:
        hold = account.drop_hold(self.hold_id)
        if hold is not None:
            account.add_hold(
                msgspec.structs.replace(
                    hold, expires_at=self.expires_at, amount=self.amount, units=self.units
                )
            )


class HoldReleased(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The call did not happen, or not to its end: nothing is charged."""

    hold_id: str
    reason: Release

    def apply(self, account: AccountState) -> None:
        account.drop_hold(self.hold_id)


class HoldExpired(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody settled or released it in time; what it set aside is free again."""

    hold_id: str
    expired_at: datetime

    def apply(self, account: AccountState) -> None:
        account.drop_hold(self.hold_id)


HOLD_FACTS: tuple[type[Fact], ...] = (
    HoldPlaced,
    HoldExtended,
    HoldReleased,
    HoldExpired,
)
