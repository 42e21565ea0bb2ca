"""One open page: whose it is, and what it has not seen yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from api.dashboard import charges, live, pages
from api.dashboard.charges import Charge
from api.dashboard.composition import compose
from api.dashboard.limits import limits_of
from api.house import House
from api.paying.portal import portal_link
from api.tenancy.banner import banner
from domain.account.credit_account import CreditAccount
from domain.commands import Stream
from domain.workspace.workspace import Workspace, workspace_stream
from projections import balances, workspace_status


@dataclass(frozen=True, slots=True)
class Tenant:
    """The workspace that a page is about. Times are shown in its ``zone``."""

    id: str
    name: str
    zone: ZoneInfo


async def standing(house: House, account: CreditAccount, tenant: Tenant) -> dict[str, Any]:
    """What `_standing.html` shows: the balance, what it is made of, and the warnings."""
    now = await house.clock.now()
    found = await of_tenant(house, tenant.id)
    return {
        "workspace": tenant,
        "account": await compose(house.ledger.book, account),
        "due": banner(found, now, _portal(house, tenant, now)),
        "limits": tuple(limits_of(found)),
        "now": now,
    }


async def of_tenant(house: House, workspace_id: str) -> Workspace:
    """The workspace as committed now."""
    found = await house.ledger.book.fresh(Stream(Workspace, workspace_stream(workspace_id)))
    assert isinstance(found, Workspace)
    return found


def _portal(house: House, tenant: Tenant, now: datetime) -> str:
    """Where a card is changed: Stripe's portal, or our own page where there is no Stripe."""
    if not house.settings.stripe_key:
        return pages.path("w", tenant.id, "billing")
    return portal_link(house.settings, tenant.id, now, "payment_method_update")


class Watch:
    """What one open page has seen of its workspace, and what is new to it."""

    def __init__(self, house: House, tenant: Tenant, position: int) -> None:
        self._house = house
        self._tenant = tenant
        self._position = position
        self._shown_at: tuple[int, int] | None = None  # positions of the balance, and of the plan

    async def look(self) -> Sequence[live.Event]:
        """Charges since the last look, oldest first, then the standing if it moved.

        Where more than one page of charges came, the newest page replaces the list.
        """
        async with self._house.pool.connection() as connection:
            rows = await charges.since(connection, self._tenant.id, self._position)
            moved = await balances.balance(connection, self._tenant.id)
            status = await workspace_status.find(connection, self._tenant.id)
        events: list[live.Event] = []
        if rows:
            self._position = max(row.changed_at for row in rows)
            currency = moved.currency if moved else "usd"
            events = self._rows(rows, currency)
        at = (moved.last_position if moved else 0, status.last_position if status else 0)
        if rows or at != self._shown_at:  # units move without the balance
            self._shown_at = at
            account = await self._house.ledger.account(self._tenant.id)
            shown = await standing(self._house, account, self._tenant)
            events.append(live.Event("balance", pages.fragment("_standing.html", **shown)))
        return events

    def _rows(self, rows: list[Charge], currency: str) -> list[live.Event]:
        common = {"workspace": self._tenant, "currency": currency}
        if len(rows) == charges.PAGE:
            page = pages.fragment("_charges.html", charges=rows, older=rows[-1].position, **common)
            return [live.Event("charges", page, str(self._position))]
        return [
            live.Event(
                "charge", pages.fragment("_charge.html", charge=row, **common), str(row.changed_at)
            )
            for row in sorted(rows, key=lambda row: row.changed_at)
        ]
