"""One open page: whose it is, and what it has not seen yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from api.dashboard import charges, live, pages
from api.dashboard.charges import Charge
from api.dashboard.composition import compose
from api.house import House
from domain.account.credit_account import CreditAccount
from projections import balances


@dataclass(frozen=True, slots=True)
class Tenant:
    """The workspace that a page is about. Times are shown in its ``zone``."""

    id: str
    name: str
    zone: ZoneInfo


async def standing(house: House, account: CreditAccount, tenant: Tenant) -> dict[str, Any]:
    """What `_standing.html` shows: the balance, what it is made of, and the warnings."""
    return {
        "workspace": tenant,
        "account": await compose(house.ledger.book, account),
        "now": await house.clock.now(),
    }


class Watch:
    """What one open page has seen of its workspace, and what is new to it."""

    def __init__(self, house: House, tenant: Tenant, position: int) -> None:
        self._house = house
        self._tenant = tenant
        self._position = position
        self._balance_at: int | None = None

    async def look(self) -> Sequence[live.Event]:
        """Charges since the last look, oldest first, then the balance if it moved.

        Where more than one page of charges came, the newest page replaces the list.
        """
        async with self._house.pool.connection() as connection:
            rows = await charges.since(connection, self._tenant.id, self._position)
            moved = await balances.balance(connection, self._tenant.id)
        events: list[live.Event] = []
        if rows:
            self._position = max(row.changed_at for row in rows)
            currency = moved.currency if moved else "usd"
            events = self._rows(rows, currency)
        if moved is not None and moved.last_position != self._balance_at:
            self._balance_at = moved.last_position
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
