"""Sends a trace to a deployment, so that a run can be killed at any moment and simply repeated.

Nothing depends on how far an earlier run came: every credit and every act carries an id made from
the file, and the ledger answers what it has already recorded without charging again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from api.client import Api, ApiRefused
from api.demo.trace import WORKSPACES, Call, Price, Rule, Trace, workspace_name
from api.running.notes import Notes

BATCH = 500
AT_ONCE = 4
BEFORE = timedelta(days=7)
RECENT = timedelta(days=25)
"""Usage may come 35 days late at most: workspaces older than this cannot date a new trace."""
ROUNDS = 50
RESERVE_USD = 1
TOPUP_MAX_USD = 5_000


@dataclass
class Tally:
    """How the calls of a trace ended. Amounts in µ."""

    new: int = 0
    known: int = 0
    debits: int = 0  # as the ledger answered, for new and known calls alike
    expected: int = 0  # as computed from the file and the price list
    refused: list[str] = field(default_factory=list)  # a line each

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.new + other.new,
            self.known + other.known,
            self.debits + other.debits,
            self.expected + other.expected,
            self.refused + other.refused,
        )


class Import:
    """One trace on its way into one deployment."""

    def __init__(self, api: Api, trace: Trace, shift: timedelta, ids: Mapping[int, str]) -> None:
        """Read the price list in force when the (shifted) trace begins."""
        self._api = api
        self._trace = trace
        self._shift = shift
        self._ids = ids
        begin = (trace.begin + shift).isoformat().replace("+00:00", "Z")
        book = api.get("/v1/billing/llm-costs", as_of=begin)
        prices = [
            Price(
                row["llm_model"],
                row["provider"] or "",
                row["input_usd_per_m"],
                row["output_usd_per_m"],
            )
            for row in book["data"]
        ]
        if not prices:
            raise ApiRefused(f"No model had a price on {begin}: `daybook prices import` adds some.")
        self._rule = Rule(trace, prices, book["markup_bps"])

    def run(self, progress: Callable[[int], None]) -> Tally:
        """Credit the workspaces and send every call; `progress` hears of how many are done."""
        theirs: dict[int, list[Call]] = {}
        for call in self._trace.calls:
            theirs.setdefault(self._rule.workspace(call), []).append(call)
        tally = Tally()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            # One workspace's calls go one batch after the other, so they are recorded in order.
            ends = [
                pool.submit(self._send, self._ids[number], calls, progress)
                for number, calls in sorted(theirs.items())
            ]
            try:
                for end in as_completed(ends):
                    tally += end.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return tally

    def _send(self, workspace: str, calls: list[Call], progress: Callable[[int], None]) -> Tally:
        self._credit(workspace, sum(map(self._rule.cost, calls)))
        tally = Tally()
        for batch in _batches(calls):
            tally += self._send_batch(workspace, batch)
            progress(len(batch))
        return tally

    def _credit(self, workspace: str, cost: int) -> None:
        """Prepay what the calls will cost, in whole dollars, once for ever."""
        left = cost // 1_000_000 + RESERVE_USD
        for part in range(1, left // TOPUP_MAX_USD + 2):
            amount = min(left, TOPUP_MAX_USD)
            if amount:
                ref = f"{self._trace.id}-{workspace}-{part}"
                self._api.post(
                    "/v1/billing/topup",
                    {"amount_usd": amount, "payment_ref": ref},
                    workspace,
                    key=ref,
                )
            left -= amount

    def _send_batch(self, workspace: str, calls: list[Call]) -> Tally:
        tally = Tally(expected=sum(map(self._rule.cost, calls)))
        for _ in range(ROUNDS):
            bodies = [self._rule.usage(call, self._shift) for call in calls]
            results = self._api.post("/v1/usage/batch", bodies, workspace)["results"]
            busy = []
            for call, result in zip(calls, results, strict=True):
                if result["status"] == 503:
                    busy.append(call)
                elif result["status"] >= 400:
                    problem = result["problem"]
                    tally.refused.append(f"row {call.row}: {problem['code']}: {problem['detail']}")
                else:
                    tally.new += result["status"] == 201
                    tally.known += result["status"] == 200
                    tally.debits += int(result["result"]["total_cost_usd"] * 1_000_000)
            if not busy:
                return tally
            calls = busy
        raise ApiRefused(f"The ledger was too busy for {len(calls)} calls: run the import again.")


def _batches(calls: Sequence[Call]) -> Iterator[list[Call]]:
    for begin in range(0, len(calls), BATCH):
        yield list(calls[begin : begin + BATCH])


@dataclass(frozen=True)
class Tenants:
    """The trace's 50 workspaces: their ids by number, and when the first one came to be."""

    ids: Mapping[int, str]
    since: datetime


def tenants(api: Api) -> Tenants:
    """Find the workspaces by name; those that are missing are created."""
    known = {row["name"]: row for row in api.pages("/v1/workspaces")}
    found = {}
    for number in range(WORKSPACES):
        name = workspace_name(number)
        # The key is for a run that was killed before it heard the answer.
        found[number] = known.get(name) or api.post(
            "/v1/workspaces", {"name": name}, key=f"import-{name}"
        )
    ids = {number: row["workspace_id"] for number, row in found.items()}
    return Tenants(ids, datetime.fromisoformat(found[0]["created_at"]))


class Start:
    """When a trace's first call happens in a ledger. Every run needs the same, to send the same
    bodies: so a choice is remembered in `notes`, and the usual start follows from the ledger."""

    def __init__(self, trace: Trace, notes: Notes, tenants: Tenants) -> None:
        self._key = f"{trace.id}@{tenants.ids[0]}"
        self._begin = trace.begin
        self._notes = notes
        self._since = tenants.since

    def shift(self, chosen: datetime | None, now: datetime) -> timedelta:
        """How far to move the trace; without a choice now or before, to midnight UTC, 7 days
        before the first workspace was created.

        A first choice is kept at once, for the run after a kill; another one only by `keep`.
        """
        kept = self._notes.read().get(self._key)
        start = chosen or (datetime.fromisoformat(kept) if kept else self._usual(now))
        if not kept:
            self.keep(start - self._begin)
        return start - self._begin

    def keep(self, shift: timedelta) -> None:
        """Remember a shift with which everything went well."""
        self._notes.keep(**{self._key: (self._begin + shift).isoformat()})

    def _usual(self, now: datetime) -> datetime:
        since = self._since if now - self._since < RECENT else now
        return since.replace(hour=0, minute=0, second=0, microsecond=0) - BEFORE
