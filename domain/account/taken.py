"""Where the money came from that a refund or a dispute took, so that it can go back there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from domain.account.wallet import Grant, Wallet

Taken = tuple[Grant, ...]
"""Parts of grants with the terms of their grant, in the order in which they were taken."""


def noted(wallet: Wallet, parts: Mapping[str, int]) -> Taken:
    """What a reversal takes from the wallet as it still is."""
    grants = {grant.grant_id: grant for grant in wallet.grants}
    return tuple(
        replace(grants[grant_id], remaining=part)
        for grant_id, part in parts.items()
        if grant_id in grants
    )


def untaken(taken: Taken, reversed: int, amount: int) -> tuple[Taken, Taken]:
    """What of a payment's reversals goes back, and what stays taken, if ``amount`` of the
    ``reversed`` µ is given back: what was taken last first. What no grant gave had become debt,
    and is the first of it."""
    amount -= min(amount, reversed - total(taken))
    back: list[Grant] = []
    left = list(taken)
    while amount and left:
        last = left.pop()
        part = min(last.remaining, amount)
        back.append(replace(last, remaining=part))
        if part < last.remaining:
            left.append(replace(last, remaining=last.remaining - part))
        amount -= part
    return tuple(back), tuple(left)


def total(parts: Iterable[Grant]) -> int:
    """µ of all parts."""
    return sum(part.remaining for part in parts)
