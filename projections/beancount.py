"""The journal as a beancount file, which `bean-check` passes: plain text, an entry at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from domain.money import usd
from projections.journal import Entry, Posting

HEAD = """option "title" "Daybook"
; Accounts are opened by their first posting.
plugin "beancount.plugins.auto_accounts"
"""


def text_of(entries: Iterable[Entry]) -> Iterator[str]:
    """The file, in pieces. Money has six digits at most, and is exact."""
    yield HEAD
    for entry in entries:
        yield "".join(_lines(entry))


def _lines(entry: Entry) -> Iterator[str]:
    yield f'\n{entry.at:%Y-%m-%d} * "{_quoted(entry.workspace_id)}" "{entry.type}"\n'
    yield f"  position: {entry.position}\n"
    yield f'  event_id: "{_quoted(entry.event_id)}"\n'
    if entry.usage_id is not None:
        yield f'  usage_id: "{_quoted(entry.usage_id)}"\n'
    for posting in entry.postings:
        yield f"  {posting.account}  {_amount(posting)} {posting.unit}\n"


def _amount(posting: Posting) -> str:
    if not posting.is_money:
        return str(posting.amount)
    # Never 1E+2: beancount reads plain numbers only.
    return format(usd(posting.amount), "f")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
