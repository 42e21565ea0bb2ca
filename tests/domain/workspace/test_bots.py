"""Which bots run: the keep order, the plan's cap, and who may lift which pause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import NotFound
from domain.facts import Context, project
from domain.workspace.bots import (
    Why,
    bots_to_pause,
    create_bot,
    enforce_limits,
    keep_order,
    pause_bot,
    remove_bot,
    resume_bot,
)
from domain.workspace.errors import BotConflict, PlanLimitReached
from domain.workspace.facts import BotCreated, BotPaused, BotResumed
from domain.workspace.workspace import Workspace, workspace_stream

START = datetime(2026, 6, 1, tzinfo=UTC)


def at(minutes: int = 0) -> Context:
    return Context(START + timedelta(minutes=minutes))


def limited(workspace: Workspace, cap: int | None, why: Why, *keep: str) -> list[Any]:
    """Put a cap in force; the pauses and resumptions that it led to."""
    before = len(workspace.pending)
    enforce_limits(workspace, "plan", 1, {"bots": cap}, {}, keep, why, at())
    moves = [event.fact for event in workspace.pending[before:]]
    return [fact for fact in moves if isinstance(fact, BotPaused | BotResumed)]


def opened(cap: int | None = 10) -> Workspace:
    """A workspace with a cap."""
    workspace = Workspace(workspace_stream("acme"))
    workspace.create("acme", "Acme", "owner", "UTC", at())
    limited(workspace, cap, "subscription")
    return workspace


def staffed(count: int, cap: int | None = None) -> Workspace:
    """A workspace with the bots b01, b02, ... made in that order."""
    workspace = opened(cap if cap is not None else count)
    for number in range(1, count + 1):
        create_bot(workspace, f"b{number:02}", f"Bot {number}", at(number))
    return workspace


def active(workspace: Workspace) -> set[str]:
    return {bot.bot_id for bot in workspace.bots.values() if bot.is_active}


def by(workspace: Workspace, pauser: Literal["user", "plan_limit"]) -> set[str]:
    return {bot.bot_id for bot in workspace.bots.values() if bot.paused_by == pauser}


@pytest.mark.scenario("S75")
@pytest.mark.parametrize(
    ("keep", "stay"),
    [
        ((), {"b01", "b02", "b03"}),
        (("b07", "b08"), {"b07", "b08", "b01"}),
        (("b07", "b07", "nobody", "b08"), {"b07", "b08", "b01"}),
        (("b10", "b09", "b08", "b07"), {"b10", "b09", "b08"}),
    ],
)
def test_the_chosen_bots_stay_and_then_the_oldest(keep: tuple[str, ...], stay: set[str]) -> None:
    workspace = staffed(10)
    foreseen = bots_to_pause(workspace, 3, keep)

    moves = limited(workspace, 3, "downgrade", *keep)

    assert active(workspace) == stay
    assert [fact.bot_id for fact in moves] == foreseen
    assert {fact.limit for fact in moves} == {3}


def test_pauses_come_in_reverse_keep_order() -> None:
    moves = limited(staffed(5), 2, "downgrade", "b04")

    assert [fact.bot_id for fact in moves] == ["b05", "b03", "b02"]


@pytest.mark.scenario("S80")
def test_paused_bots_do_not_count_and_stay_the_users() -> None:
    workspace = staffed(10)
    for bot_id in ("b01", "b04", "b06", "b09"):
        pause_bot(workspace, bot_id, at(20))

    moves = limited(workspace, 3, "downgrade")

    assert [fact.bot_id for fact in moves] == ["b10", "b08", "b07"]
    assert active(workspace) == {"b02", "b03", "b05"}
    assert by(workspace, "user") == {"b01", "b04", "b06", "b09"}


@pytest.mark.scenario("S79")
def test_a_removed_bot_makes_room_for_the_next_one_only() -> None:
    workspace = staffed(10)
    limited(workspace, 3, "downgrade")

    remove_bot(workspace, "b01", True, at(30))

    assert active(workspace) == {"b02", "b03", "b04"}
    with pytest.raises(PlanLimitReached) as refused:
        resume_bot(workspace, "b05", at(31))
    assert (refused.value.limit, refused.value.current) == (3, 3)


def test_the_choice_of_bots_outlives_the_downgrade() -> None:
    workspace = staffed(10)
    limited(workspace, 3, "downgrade", "b10", "b09", "b08", "b07")

    remove_bot(workspace, "b10", True, at(30))

    assert active(workspace) == {"b09", "b08", "b07"}


def test_the_switch_leaves_a_freed_slot_free() -> None:
    workspace = staffed(4)
    limited(workspace, 2, "downgrade")

    remove_bot(workspace, "b01", False, at(30))
    assert active(workspace) == {"b02"}

    resume_bot(workspace, "b04", at(31))
    assert active(workspace) == {"b02", "b04"}


def test_a_removed_paused_bot_frees_no_slot() -> None:
    workspace = staffed(4)
    limited(workspace, 2, "downgrade")

    remove_bot(workspace, "b04", True, at(30))

    assert active(workspace) == {"b01", "b02"}


def test_an_upgrade_resumes_what_the_plan_paused_and_nothing_else() -> None:
    workspace = staffed(6)
    pause_bot(workspace, "b02", at(20))
    limited(workspace, 2, "downgrade")
    assert by(workspace, "plan_limit") == {"b04", "b05", "b06"}

    moves = limited(workspace, 4, "upgrade")

    assert [(fact.bot_id, fact.by) for fact in moves] == [("b04", "upgrade"), ("b05", "upgrade")]
    assert by(workspace, "user") == {"b02"}


def test_who_is_chosen_for_a_smaller_plan_runs_although_the_one_before_had_paused_it() -> None:
    workspace = staffed(6)
    pause_bot(workspace, "b02", at(20))
    limited(workspace, 3, "downgrade")
    assert active(workspace) == {"b01", "b03", "b04"}
    assert bots_to_pause(workspace, 2, ("b06", "b02", "b04")) == ["b03", "b01"]

    moves = limited(workspace, 2, "downgrade", "b06", "b02", "b04")

    assert active(workspace) == {"b06", "b04"}
    assert by(workspace, "user") == {"b02"}
    assert [fact.bot_id for fact in moves] == ["b03", "b01", "b06"]


def test_a_pause_by_the_plan_can_become_the_users_own() -> None:
    workspace = staffed(4)
    limited(workspace, 2, "downgrade")

    pause_bot(workspace, "b03", at(20))
    limited(workspace, 10, "upgrade")

    assert by(workspace, "user") == {"b03"}
    assert active(workspace) == {"b01", "b02", "b04"}


def test_an_end_that_nobody_asked_for_pauses_nothing() -> None:
    workspace = staffed(5)

    assert limited(workspace, 1, "involuntary_end") == []
    assert len(active(workspace)) == 5
    with pytest.raises(PlanLimitReached):
        create_bot(workspace, "b06", "Bot 6", at(30))


def test_the_same_bot_again_is_the_same_bot() -> None:
    workspace = opened(1)

    assert create_bot(workspace, "b01", "Support", at())
    assert not create_bot(workspace, "b01", "Support", at())
    with pytest.raises(BotConflict):
        create_bot(workspace, "b01", "Sales", at())
    made = [event for event in workspace.pending if isinstance(event.fact, BotCreated)]
    assert len(made) == 1


def test_no_cap_is_no_cap_and_a_cap_of_none_lifts_pauses() -> None:
    workspace = staffed(5)
    limited(workspace, 1, "downgrade")

    limited(workspace, None, "cycle")

    assert len(active(workspace)) == 5
    with pytest.raises(NotFound):
        pause_bot(workspace, "nobody", at())


ids = st.sampled_from([f"b{n:02}" for n in range(1, 13)])
asks = st.one_of(
    st.tuples(st.just("create"), ids),
    st.tuples(st.just("pause"), ids),
    st.tuples(st.just("resume"), ids),
    st.tuples(st.just("remove"), ids),
    st.tuples(
        st.sampled_from(["upgrade", "downgrade", "cycle"]),
        st.tuples(st.integers(0, 12) | st.none(), st.lists(ids, max_size=4)),
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(asks, max_size=60))
def test_whatever_is_asked_the_cap_holds_and_users_pauses_are_theirs(asked: list[Any]) -> None:
    workspace, theirs = opened(6), set[str]()
    for minute, (what, about) in enumerate(asked):
        before = active(workspace)
        idle = by(workspace, "plan_limit")
        try:
            ask(workspace, what, about, minute)
        except (NotFound, PlanLimitReached):
            assert active(workspace) == before
            continue
        if what == "pause":
            theirs.add(about)
        elif what in ("resume", "remove"):
            theirs.discard(about)
        cap = workspace.limit("bots")
        assert cap is None or len(active(workspace)) <= cap
        assert by(workspace, "user") == theirs
        if what in ("upgrade", "downgrade", "cycle"):
            check_enforced(workspace, before | (idle & set(about[1])), about)
    folded = project(None, workspace.pending)
    assert folded is not None
    assert folded.state() == workspace.state()


def ask(workspace: Workspace, what: str, about: Any, minute: int) -> None:
    context = at(minute)
    match what:
        case "create":
            create_bot(workspace, about, about, context)
        case "pause":
            pause_bot(workspace, about, context)
        case "resume":
            resume_bot(workspace, about, context)
        case "remove":
            remove_bot(workspace, about, True, context)
        case "upgrade" | "downgrade" | "cycle":
            limited(workspace, about[0], what, *about[1])


def check_enforced(workspace: Workspace, wanted: set[str], about: Any) -> None:
    """Of those that ran or were chosen exactly as many run as the cap lets, in keep order; and room
    is used where there is any."""
    cap, keep = about
    now = active(workspace)
    if cap is None or len(wanted) <= cap:
        assert wanted <= now
        return
    ran = [bot for bot in workspace.bots.values() if bot.bot_id in wanted]
    assert [bot.bot_id for bot in keep_order(ran, keep)[:cap]] == [
        bot.bot_id for bot in keep_order([workspace.bots[id] for id in now], keep)
    ]
