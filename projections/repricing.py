"""What acts of the past would have cost by other prices: a question that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from domain.account.funding import share
from domain.account.usage import Tokens
from domain.catalogue.price_book import PriceBookVersion, exact_cost
from domain.identity import account_id

CHUNK = 10_000
# Money's part in an act: all of it, or of a bucket's units those that nothing else paid for.
ACTS = """
    SELECT holder.workspace_id, act.llm_model, act.provider,
           act.input_tokens, act.cached_input_tokens, act.output_tokens,
           greatest(act.units, 1),
           CASE WHEN act.units = 0 THEN 1
                ELSE act.units - act.included_units - act.overage_units - act.absorbed_units END,
           act.wallet + act.absorbed
    FROM usage_events act JOIN balances holder USING (stream)
    WHERE act.voided_at IS NULL AND act.total_cost IS NOT NULL AND act.external = 0
      AND act.route <> 'oauth'
      AND (%(stream)s::uuid IS NULL OR act.stream = %(stream)s)
      AND (%(start)s::timestamptz IS NULL OR act.occurred_at >= %(start)s)
      AND (%(end)s::timestamptz IS NULL OR act.occurred_at < %(end)s)
"""


class Repriced(NamedTuple):
    """Acts of one workspace and model that money paid for, wholly or in part. ``charged`` is what
    they were asked for, ``would_be`` what the other prices ask, both in µ; ``unpriced`` are acts
    whose model these prices do not know, and are in neither."""

    workspace_id: str
    llm_model: str
    acts: int = 0
    charged: int = 0
    would_be: int = 0
    unpriced: int = 0

    @property
    def difference(self) -> int:
        """µ that the customer would pay more, or, negative, less."""
        return self.would_be - self.charged


def reprice(
    connection: Connection[Any],
    prices: PriceBookVersion,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    workspace_id: str | None = None,
) -> list[Repriced]:
    """Rate the acts of a period (half-open, by when they occurred) anew, each rounded once, as
    the read models know them. Voided acts, and those that included units or the user's own
    account paid for, cost what they did: no money. Largest difference first.

    All else stays as it was: whoever would have run out of credit earlier is not refused here.
    """
    found: dict[tuple[str, str], Repriced] = {}
    stream = None if workspace_id is None else account_id(workspace_id)
    values = {"stream": stream, "start": start, "end": end}
    for workspace, model, provider, tokens, units, part, charged in _acts(connection, values):
        key = (workspace, model or "")
        row = found.get(key) or Repriced(*key)
        entry = prices.find(model, provider) if model else None
        if entry is None:
            found[key] = row._replace(unpriced=row.unpriced + 1)
            continue
        price = (entry.input, entry.cached_input, entry.output, prices.markup_bps)
        found[key] = row._replace(
            acts=row.acts + 1,
            charged=row.charged + charged,
            would_be=row.would_be + share(exact_cost(tokens, price), part, units),
        )
    return sorted(found.values(), key=lambda row: (-abs(row.difference), row[:2]))


def _acts(
    connection: Connection[Any], values: dict[str, Any]
) -> Iterator[tuple[str, str | None, str | None, Tokens, int, int, int]]:
    with connection.transaction(), connection.cursor(name="acts", binary=True) as cursor:
        cursor.itersize = CHUNK
        cursor.execute(ACTS, values)
        for workspace, model, provider, into, cached, out, units, part, charged in cursor:
            if part > 0:
                tokens = Tokens(input=into, cached_input=cached, output=out)
                yield workspace, model, provider, tokens, units, part, charged
