"""Stories of who pays, by the numbers of the specification's sections 8.6 and 8.7; credits and
overage are in `test_overage.py`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.account.allowance_facts import CompileOverflowEnabled
from domain.account.usage_facts import Debited, UsageRecorded
from domain.errors import (
    AccountFrozen,
    InsufficientCredits,
    InvalidInput,
    NoPaymentSource,
    OAuthNotAvailable,
    OAuthRejected,
    OverflowNotCovered,
    PaymentRequired,
    QuotaExceeded,
)
from tests.domain.given import NOW, USD
from tests.domain.tenant import Tenant, drawn

JULY = NOW + timedelta(days=30)


def connect(micros: int = 0, *, used: int = 0, markup_bps: int = 0) -> Tenant:
    """A workspace on Connect: 100 000 compile tokens a cycle, some of them used."""
    tenant = Tenant("faces", "connect", micros, markup_bps=markup_bps)
    if used:
        tenant.act("compile", used)
    return tenant


# The user's own account.


@pytest.mark.scenario("S43")
@pytest.mark.scenario("S44")
@pytest.mark.parametrize("micros", [5 * USD, 0])
def test_the_users_own_account_pays_and_nothing_is_debited(micros: int) -> None:
    tenant = connect(micros, markup_bps=500)
    tenant.link()

    hold = tenant.hold("chat", 12_345, 1_000, "gpt-5.4")
    act = tenant.settle(hold, 12_345, 678)

    assert (hold.route, hold.amount, hold.units) == ("oauth", 0, 0)
    assert isinstance(act, UsageRecorded)
    assert drawn(act) == {"oauth": (0, 49_565)}
    assert tenant.account.balance == tenant.account.available == micros


@pytest.mark.parametrize("meter", ["compile", "interview"])
def test_compiling_on_the_users_own_account_leaves_the_quota_alone(meter: str) -> None:
    tenant = connect()
    tenant.link()

    act = tenant.settle(tenant.hold(meter, 60_000, model="gpt-5.4"), 60_000)

    assert drawn(act) == {"oauth": (60_000, 180_000)}
    assert tenant.remaining() == 100_000


@pytest.mark.scenario("S45")
def test_a_model_that_the_users_account_does_not_serve_costs_money() -> None:
    tenant = connect(5 * USD, markup_bps=500)
    tenant.link()

    hold = tenant.hold("chat", 2_000, 1_000, "claude-sonnet-4-6")
    act = tenant.settle(hold, 2_000, 1_000)

    assert drawn(act) == {"wallet": (0, 22_050)}


@pytest.mark.scenario("S46")
def test_a_revoked_link_falls_back_to_the_wallet_if_the_user_lets_it() -> None:
    tenant = connect(5 * USD)
    tenant.link()
    tenant.unlink("revoked")

    assert tenant.hold("chat", 1_000, model="gpt-5.4").route == "wallet"

    tenant.fallback(False)
    before = tenant.book.position
    with pytest.raises(OAuthRejected) as refused:
        tenant.hold("chat", 1_000, model="gpt-5.4")
    assert refused.value.fallback_available
    assert tenant.book.position == before
    # What that account never served is not its business.
    assert tenant.hold("chat", 1_000, model="claude-sonnet-4-6").route == "wallet"


@pytest.mark.scenario("S47")
def test_the_free_plan_has_no_link() -> None:
    tenant = Tenant("faces")

    with pytest.raises(OAuthNotAvailable):
        tenant.link()


def test_a_call_cannot_claim_an_account_that_is_not_linked() -> None:
    tenant = connect(USD)

    with pytest.raises(InvalidInput, match="no active connection"):
        tenant.act("chat", 1_000, model="gpt-5.4", route="oauth")
    # What happened, happened; and our wallet did not pay for it.
    act = tenant.act("chat", 1_000, model="gpt-5.4", route="oauth", mode="record")
    assert drawn(act) == {"oauth": (0, 3_000)}


def test_a_call_that_ran_on_our_account_costs_money_although_a_link_is_active() -> None:
    tenant = connect(USD)
    tenant.link()

    assert drawn(tenant.act("chat", 1_000, model="gpt-5.4")) == {"wallet": (0, 3_000)}


@pytest.mark.scenario("S17")
def test_frozen_comes_before_every_source() -> None:
    tenant = connect(100 * USD)
    tenant.link()
    tenant.freeze()
    before = tenant.book.position

    for meter, model in [
        ("chat", "gpt-5.4"),
        ("chat", "claude-sonnet-4-6"),
        ("compile", "gpt-5.4"),
        ("interview", "gpt-5.4"),
    ]:
        for refused in (tenant.hold, tenant.act):
            with pytest.raises(AccountFrozen) as why:
                refused(meter, 1_000, model=model)
            assert (why.value.needs_credits, why.value.needs_oauth) == (False, False)
            assert why.value.is_frozen
    assert tenant.book.position == before

    tenant.credit(5 * USD)
    assert tenant.account.balance == 105 * USD
    tenant.unfreeze()
    assert tenant.hold("chat", 1_000, model="gpt-5.4").route == "oauth"


MATRIX = [  # plan, link, available µ, frozen; route or refusal, needs_oauth, needs_credits
    ("free", None, 0, False, InsufficientCredits, False, True),
    ("free", None, 1, False, "wallet", None, None),
    ("connect", None, 0, False, InsufficientCredits, True, True),
    ("connect", None, 5 * USD, False, "wallet", None, None),
    ("connect", "active", 0, False, "oauth", None, None),
    ("connect", "revoked", 0, False, InsufficientCredits, True, True),
    ("connect", "active", 9, True, AccountFrozen, False, False),
]


@pytest.mark.scenario("S48")
@pytest.mark.parametrize(
    ("plan", "link", "micros", "frozen", "end", "needs_oauth", "needs_credits"), MATRIX
)
def test_the_interview_matrix(
    plan: str,
    link: str | None,
    micros: int,
    frozen: bool,
    end: str | type[PaymentRequired],
    needs_oauth: bool,
    needs_credits: bool,
) -> None:
    tenant = Tenant("faces", None if plan == "free" else plan, micros)
    tenant.act("compile", tenant.remaining())
    if link is not None:
        tenant.link()
    if link == "revoked":
        tenant.unlink("revoked")
    if frozen:
        tenant.freeze()
    before = tenant.book.position

    if isinstance(end, str):
        assert tenant.hold("interview", 1_000, 100, "gpt-5.4").route == end
        return
    with pytest.raises(PaymentRequired) as refused:
        tenant.hold("interview", 1_000, 100, "gpt-5.4")
    why = refused.value
    assert why.plan == plan
    assert (why.needs_oauth, why.needs_credits) == (needs_oauth, needs_credits)
    assert isinstance(why, AccountFrozen) == frozen
    assert tenant.book.position == before


@pytest.mark.scenario("S48")
def test_a_source_that_was_asked_for_pays_or_nobody_does() -> None:
    tenant = connect(5 * USD, used=100_000)

    with pytest.raises(NoPaymentSource) as refused:
        tenant.hold("interview", 1_000, model="gpt-5.4", source="oauth")
    assert (refused.value.needs_oauth, refused.value.needs_credits) == (True, False)
    with pytest.raises(NoPaymentSource):
        tenant.hold("interview", 1_000, model="gpt-5.4", source="compile")
    assert tenant.hold("interview", 1_000, model="gpt-5.4", source="credits").route == "wallet"
    tenant.link()
    assert tenant.hold("interview", 1_000, model="gpt-5.4", source="oauth").route == "oauth"


# Compile quota and overflow.


@pytest.mark.scenario("S50")
def test_the_quota_is_shared_across_faces() -> None:
    tenant = connect()

    tenant.act("compile", 50_000, 10_000, face_id="alice")
    tenant.act("compile", 30_000, face_id="bob")

    assert tenant.remaining() == 10_000


@pytest.mark.scenario("S51")
def test_without_overflow_compilation_that_does_not_fit_is_refused() -> None:
    tenant = connect(5 * USD, used=90_000)
    before = tenant.book.position

    for refused in (tenant.hold, tenant.act):
        with pytest.raises(QuotaExceeded) as why:
            refused("compile", 15_000)
        assert (why.value.tokens_remaining, why.value.tokens_requested) == (10_000, 15_000)
    assert tenant.book.position == before

    assert drawn(tenant.act("compile", 10_000)) == {"allowance": (10_000, 0)}
    assert tenant.remaining() == 0


@pytest.mark.scenario("S52")
@pytest.mark.parametrize("held", [False, True])
def test_with_overflow_only_the_excess_costs_money(held: bool) -> None:
    tenant = connect(5 * USD, used=90_000, markup_bps=500)
    tenant.overflow(True)

    if held:
        hold = tenant.hold("compile", 12_000, 3_000)
        assert (hold.route, hold.units, hold.amount) == ("allowance", 10_000, 3_150)
        act = tenant.settle(hold, 12_000, 3_000)
    else:
        act = tenant.act("compile", 12_000, 3_000)

    assert isinstance(act, Debited)
    assert act.rated is not None
    assert (act.reason, act.rated.total) == ("overflow", 9_450)
    assert drawn(act) == {"allowance": (10_000, 0), "wallet": (0, 3_150)}
    assert tenant.account.balance == tenant.account.available == 4_996_850
    assert len(tenant.facts(CompileOverflowEnabled)) == 1


@pytest.mark.scenario("S53")
def test_overflow_into_an_empty_wallet_asks_for_credits() -> None:
    tenant = connect(used=100_000)
    tenant.overflow(True)

    with pytest.raises(OverflowNotCovered) as asked:
        tenant.act("compile", 15_000)
    assert asked.value.needs_credits

    tenant.credit(USD)
    whole = tenant.act("compile", 15_000)
    assert isinstance(whole, Debited)
    assert whole.reason == "overflow", "the whole of it is past the quota"
    tenant.overflow(False)
    with pytest.raises(QuotaExceeded) as refused:
        tenant.act("compile", 15_000)
    assert not refused.value.needs_credits, "credits would not help while overflow is off"


@pytest.mark.scenario("S56")
def test_chat_and_compilation_are_paid_from_different_pockets() -> None:
    tenant = connect(5 * USD)

    tenant.act("chat", 1_000_000)
    assert tenant.remaining() == 100_000
    balance = tenant.account.balance
    tenant.act("compile", 100_000)
    assert tenant.account.balance == balance


def test_what_a_quota_overran_is_absorbed_unless_overflow_pays_for_it() -> None:
    tenant = connect(USD, used=90_000)
    hold = tenant.hold("compile", 10_000)

    act = tenant.settle(hold, 15_000)

    assert [(d.source, d.units, d.reason) for d in act.draws] == [
        ("allowance", 10_000, None),
        ("absorbed", 5_000, "quota_overrun"),
    ]
    assert tenant.account.balance == USD


def test_recorded_facts_never_draw_on_a_source_that_is_empty() -> None:
    """An interview is not wallet-first: without money, what the quota lacks is absorbed; chat
    is, and becomes debt."""
    tenant = Tenant("faces")
    tenant.act("compile", 4_900)

    interview = tenant.act("interview", 500, mode="record")
    chat = tenant.act("chat", 4_000, mode="record")

    assert drawn(interview) == {"allowance": (100, 0), "absorbed": (400, 0)}
    assert drawn(chat) == {"wallet": (0, 1_000)}
    assert tenant.account.balance == -1_000


def test_written_off_debt_is_absorbed_and_adds_up() -> None:
    tenant = Tenant("faces", "connect", 1_000, overdraft="write_off")
    tenant.act("compile", 90_000)
    tenant.overflow(True)

    # More than was estimated: what is estimated has to be covered.
    act = tenant.settle(tenant.hold("compile", 14_000), 20_000)

    assert drawn(act) == {"allowance": (10_000, 0), "absorbed": (0, 1_500), "wallet": (0, 1_000)}
    assert tenant.account.balance == 0
