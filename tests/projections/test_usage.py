"""What itemised and grouped usage answer after known stories."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from adapters.postgres.database import Database
from domain.ledger import Ledger
from projections import balances, usage_history, usage_report
from tests.domain.given import NOW, USD, at, call, chat, s01
from tests.projections.stories import (
    ask,
    hours_of_calls,
    post,
    publish_new_model,
    write,
)

GROUPS = sorted(usage_report.GROUPS)


def grouped_by(database: Database, group: str | None) -> usage_report.UsageReport:
    """The report of everything that acme used."""
    return ask(database, lambda c: usage_report.grouped(c, "acme", group_by=group))


@pytest.mark.scenario("S05")
def test_an_act_that_costs_nothing_is_counted(database: Database) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.grant("acme", USD, "g", at())
        await ledger.charge("acme", chat("tiny", "gpt-4o-mini", 1), at())

    write(database, story)
    post(database)
    totals = ask(database, lambda c: usage_report.grouped(c, "acme")).totals
    assert (totals.request_count, totals.input_tokens, totals.total_cost) == (1, 1, 0)
    (act,) = ask(database, lambda c: usage_history.page(c, "acme"))
    assert (act.total_cost, act.wallet, act.is_unrated, act.balance_after) == (0, 0, False, None)


def test_an_itemised_act_has_everything_that_was_sent_and_charged(database: Database) -> None:
    usage = chat(
        "act \\ 1\n",
        input=12_345,
        output=678,
        provider="openai",
        api_key_id="key_1",
        model_username="alice",
        bot_id="bot\t1",
        occurred_at=NOW - timedelta(minutes=3),
    )

    async def story(ledger: Ledger) -> Any:
        await ledger.grant("acme", 20 * USD, "g", at())
        return await ledger.charge("acme", usage, at())

    charge = write(database, story, markup_bps=500)
    post(database)
    act = ask(database, lambda c: usage_history.one(c, charge.usage_id))
    assert act is not None
    assert act.usage_id == charge.usage_id
    assert (act.provider_cost, act.markup, act.total_cost) == (47_205, 2_360, 49_565)
    assert (act.wallet, act.balance_after) == (49_565, 19_950_435)
    assert (act.event_id, act.bot_id, act.model_username) == ("act \\ 1\n", "bot\t1", "alice")
    assert (act.occurred_at, act.recorded_at) == (NOW - timedelta(minutes=3), NOW)
    assert (act.input_tokens, act.output_tokens, act.price_book_version) == (12_345, 678, 1)
    assert act.position == charge.position
    assert not act.is_voided
    assert ask(database, lambda c: usage_history.one(c, "use_nonsense")) is None


@pytest.mark.scenario("S07")
def test_an_act_is_listed_with_the_price_that_was_in_force(database: Database) -> None:
    before = NOW + timedelta(days=9) - timedelta(seconds=1)

    async def story(ledger: Ledger) -> None:
        from tests.domain.given import LONG_AGO, entries

        start = NOW + timedelta(days=9)
        await ledger.publish_prices(start, "usd", 0, entries(2_000_000), "v2", at(LONG_AGO))
        await ledger.grant("acme", 20 * USD, "g", at())
        for id, when in (("old", before), ("new", start)):
            await ledger.charge(
                "acme", chat(id, input=1_000_000, occurred_at=when), at(days=9, seconds=5)
            )

    write(database, story)
    post(database)
    new, old = ask(database, lambda c: usage_history.page(c, "acme"))
    assert (old.total_cost, old.price_book_version) == (3_000_000, 1)
    assert (new.total_cost, new.price_book_version) == (2_000_000, 2)


@pytest.mark.scenario("S22")
def test_an_unrated_act_waits_and_is_completed_once(database: Database) -> None:
    async def recorded(ledger: Ledger) -> Any:
        await ledger.grant("acme", 20 * USD, "g", at())
        await ledger.charge("acme", s01(), at())
        return await ledger.charge(
            "acme", chat("u2", "newborn", 1_000_000, mode="record"), at(hours=1)
        )

    charge = write(database, recorded)
    post(database)
    waiting = ask(database, lambda c: usage_history.unrated(c, ["newborn"]))
    assert waiting == [("acme", charge.usage_id)]
    assert ask(database, lambda c: usage_history.unrated(c, ["gpt-5.4"])) == []
    act = ask(database, lambda c: usage_history.one(c, charge.usage_id))
    assert act is not None and act.is_unrated and act.total_cost is None
    newborn = {"llm_model": "newborn"}
    report = ask(database, lambda c: usage_report.grouped(c, "acme", filters=newborn))
    assert (report.totals.request_count, report.totals.total_cost) == (1, 0)
    assert report.totals.input_tokens == 1_000_000

    async def rated(ledger: Ledger) -> Any:
        await publish_new_model(ledger, "newborn")
        first = await ledger.rate_unrated("acme", charge.usage_id, at(hours=2))
        return first, await ledger.rate_unrated("acme", charge.usage_id, at(hours=3))

    assert write(database, rated) == (True, False)
    post(database)
    assert ask(database, usage_history.unrated) == []
    act = ask(database, lambda c: usage_history.one(c, charge.usage_id))
    assert act is not None and not act.is_unrated
    assert (act.total_cost, act.wallet) == (1_000_000, 1_000_000)
    assert act.balance_after == 20 * USD - 37_035 - 1_000_000
    report = ask(database, lambda c: usage_report.grouped(c, "acme", filters=newborn))
    assert (report.totals.request_count, report.totals.total_cost) == (1, 1_000_000)

    async def voided(ledger: Ledger) -> None:
        await ledger.void("acme", charge.usage_id, at(hours=4))

    write(database, voided)
    post(database)
    report = ask(database, lambda c: usage_report.grouped(c, "acme", filters=newborn))
    assert set(report.totals[2:]) == {0}


@pytest.mark.scenario("G05")
def test_history_shows_an_act_and_its_void_and_totals_net_to_zero(database: Database) -> None:
    async def story(ledger: Ledger) -> Any:
        await ledger.grant("acme", 1_000, "a", at(), priority=1)
        await ledger.grant("acme", 10_000, "b", at())
        interview = chat("i1", "gpt-5.4-mini", 8_000, 2_000, meter="interview")
        charge = await ledger.charge("acme", interview, at(minutes=20))
        assert {draw.source for draw in charge.draws} == {"allowance", "wallet"}
        return charge, await ledger.void("acme", charge.usage_id or "", at(days=1))

    charge, void = write(database, story)
    post(database)
    (act,) = ask(database, lambda c: usage_history.page(c, "acme"))
    assert act.usage_id == charge.usage_id
    assert act.voided_at == void.position
    assert (act.units, act.included_units) == (10_000, 5_000)
    assert act.wallet == sum(d.amount for d in charge.draws if d.source == "wallet") > 1_000
    for group in (None, *GROUPS):
        report = grouped_by(database, group)
        assert set(report.totals[2:]) == {0}
    row = ask(database, lambda c: balances.balance(c, "acme"))
    assert row is not None and row.balance == 11_000 == row.credited


def test_what_the_wallet_did_not_pay_is_not_in_the_cost(database: Database) -> None:
    async def story(ledger: Ledger) -> Any:
        await ledger.grant("acme", USD, "a", at())
        included = chat("i1", "gpt-5.4-mini", 2_000, 1_000, meter="interview")
        await ledger.charge("acme", included, at())
        split = chat("i2", "gpt-5.4-mini", 2_400, 600, meter="interview")
        return await ledger.charge("acme", split, at())

    charge = write(database, story, markup_bps=500)
    paid = sum(draw.amount for draw in charge.draws if draw.source == "wallet")
    post(database)
    totals = ask(database, lambda c: usage_report.grouped(c, "acme")).totals
    assert totals.total_cost == paid
    assert totals.provider_cost + totals.markup == totals.total_cost
    assert (totals.credits, totals.included_credits) == (6_000, 5_000)


@pytest.mark.scenario("S93")
def test_a_day_is_the_day_of_the_time_zone_that_is_asked_for(database: Database) -> None:
    moment = datetime(2026, 6, 30, 23, 30, tzinfo=UTC)

    async def story(ledger: Ledger) -> None:
        await ledger.grant("acme", USD, "a", at())
        await ledger.charge("acme", s01(), at(moment))

    write(database, story)
    post(database)

    def days(zone: str, **period: Any) -> Any:
        return ask(
            database,
            lambda c: usage_report.grouped(c, "acme", group_by="date", timezone=zone, **period),
        )

    assert [row.group_key for row in days("UTC").rows] == ["2026-06-30"]
    assert [row.group_key for row in days("Europe/Berlin").rows] == ["2026-07-01"]
    assert days("UTC").totals == days("Europe/Berlin").totals
    june, july = date(2026, 6, 30), date(2026, 7, 1)
    assert days("UTC", end_date=june).totals.request_count == 1
    assert days("UTC", start_date=july).totals.request_count == 0
    assert days("Europe/Berlin", end_date=june).totals.request_count == 0
    assert days("Europe/Berlin", start_date=july, end_date=july).totals.request_count == 1


def test_a_half_hour_time_zone_is_exact(database: Database) -> None:
    """Kathmandu is 5:45 ahead: its day begins at 18:15 UTC."""
    midnight = datetime(2026, 6, 10, 18, 15, tzinfo=UTC)

    async def story(ledger: Ledger) -> None:
        await ledger.grant("acme", USD, "a", at())
        for id, moment in (("eve", midnight - timedelta(microseconds=1)), ("day", midnight)):
            await ledger.charge("acme", call(id), at(moment))

    write(database, story)
    post(database)
    report = ask(
        database,
        lambda c: usage_report.grouped(c, "acme", group_by="date", timezone="Asia/Kathmandu"),
    )
    assert [(r.group_key, r.request_count) for r in report.rows] == [
        ("2026-06-10", 1),
        ("2026-06-11", 1),
    ]


@pytest.mark.scenario("S104")
def test_rows_add_up_to_the_totals_for_every_grouping(database: Database) -> None:
    async def story(ledger: Ledger) -> None:
        await hours_of_calls(ledger, ["acme", "other"], 300)
        # A face is renamed: what was is not rewritten.
        await ledger.charge("acme", call("renamed", model_username="alicia"), at(hours=11))

    write(database, story, "acme", "other", markup_bps=500)
    post(database)
    whole = ask(database, lambda c: usage_report.grouped(c, "acme"))
    assert whole.rows == [whole.totals]
    assert whole.totals.request_count > 100
    acts = ask(database, lambda c: usage_history.page(c, "acme", limit=1000))
    standing = [act for act in acts if not act.is_voided]
    assert whole.totals.request_count == len(standing)
    assert whole.totals.total_cost == sum(act.wallet for act in standing)
    assert whole.totals.input_tokens == sum(act.input_tokens for act in standing)
    assert whole.totals.provider_cost + whole.totals.markup == whole.totals.total_cost
    for group in GROUPS:
        report = grouped_by(database, group)
        assert report.totals == whole.totals, group
        assert (
            tuple(map(sum, zip(*(row[2:] for row in report.rows), strict=True)))
            == (whole.totals[2:])
        )
    faces = ask(database, lambda c: usage_report.grouped(c, "acme", group_by="model_username"))
    assert [row.group_key for row in faces.rows] == ["alice", "alicia", "bob", None]
    assert faces.rows[1].request_count == 1
    stacked = ask(database, lambda c: usage_report.by_day_and_model(c, "acme"))
    assert sum(day.total_cost for day in stacked) == whole.totals.total_cost


def test_a_report_is_filtered_and_what_is_not_offered_is_refused(database: Database) -> None:
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 100))
    post(database)
    whole = ask(database, lambda c: usage_report.grouped(c, "acme", group_by="api_key_id"))
    one = ask(database, lambda c: usage_report.grouped(c, "acme", filters={"api_key_id": "key_1"}))
    assert one.totals[2:] == next(row for row in whole.rows if row.group_key == "key_1")[2:]
    assert ask(database, lambda c: usage_report.grouped(c, "nobody")).totals.request_count == 0
    with pytest.raises(ValueError, match="grouped by balance"):
        ask(database, lambda c: usage_report.grouped(c, "acme", group_by="balance"))
    with pytest.raises(ValueError, match="filtered by stream"):
        ask(database, lambda c: usage_report.grouped(c, "acme", filters={"stream": "x"}))
    with pytest.raises(ValueError, match="filtered by stream"):
        ask(database, lambda c: usage_history.page(c, "acme", filters={"stream": "x"}))


def test_pages_are_stable_while_acts_arrive(database: Database) -> None:
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 60))
    post(database)
    first = ask(database, lambda c: usage_history.page(c, "acme", limit=20))
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 30, tag="more"))
    post(database)
    cursor = first[-1].position
    second = ask(database, lambda c: usage_history.page(c, "acme", before=cursor, limit=1000))
    positions = [act.position for act in (*first, *second)]
    assert positions == sorted(set(positions), reverse=True)
    everything = ask(database, lambda c: usage_history.page(c, "acme", limit=1000))
    newer = [act.position for act in everything if act.position > first[0].position]
    assert [act.position for act in everything] == newer + positions
    live = ask(
        database,
        lambda c: usage_history.since(c, first[0].position, workspace_id="acme", limit=1000),
    )
    assert [act.position for act in live] == newer[::-1]
    assert ask(database, lambda c: usage_history.latest(c, "acme", 3)) == everything[:3]
    start, end = NOW, NOW + timedelta(hours=5)
    within = ask(database, lambda c: usage_history.page(c, "acme", start=start, end=end, limit=999))
    assert within == [act for act in everything if start <= act.occurred_at < end]


def test_labels_of_any_length_and_letter_are_folded(database: Database) -> None:
    """All labels together can be longer than an index entry may be."""
    long: dict[str, Any] = {
        name: f"{name}{'長' * 240}"
        for name in ("api_key_id", "model_username", "model_iam_id", "face_id", "bot_id")
    }

    async def story(ledger: Ledger) -> None:
        await ledger.grant("acme", USD, "a", at())
        await ledger.charge("acme", call("長" * 255, thread_id="\\N", **long), at())

    write(database, story)
    post(database)
    (act,) = ask(database, lambda c: usage_history.page(c, "acme"))
    assert (act.bot_id, act.thread_id, act.event_id) == (long["bot_id"], "\\N", "長" * 255)
    report = ask(database, lambda c: usage_report.grouped(c, "acme", group_by="bot_id"))
    assert [row.group_key for row in report.rows] == [long["bot_id"]]
