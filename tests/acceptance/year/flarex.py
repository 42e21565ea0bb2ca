"""Customers of FlareX: bots, credits by the cycle, overage, plans up and down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from adapters.stripe.sandbox.books import Json
from tests.acceptance.year.customer import Customer

INCLUDED = {"free": 50, "starter": 1_000, "pro": 5_000, "enterprise": 50_000}


class FlarexCustomer(Customer):
    """Uses about what its plan includes, sometimes more."""

    plans = ("starter", "starter", "pro", "pro", "enterprise")
    weights: ClassVar[Mapping[str, int]] = {
        "use": 50,
        "report_late": 6,
        "change_plan": 12,
        "take_back": 2,
        "switch_overage": 8,
        "cancel": 2,
        "cancel_in_portal": 2,
        "resume": 2,
        "subscribe": 6,
        "change_card": 6,
        "pay_up": 7,
        "be_forgiven": 1,
        "be_refunded": 2,
        "add_bot": 12,
        "turn_bot": 5,
        "remove_bot": 2,
        "deploy": 4,
        "give_back": 2,
        "begin": 5,
        "end_call": 9,
        "be_quoted": 2,
        "deal_with_dispute": 3,
    }

    _count = 0  # bots that were ever made

    @property
    def plan(self) -> str:
        """The plan in force."""
        return str(self.get("/v1/billing/subscription")["plan"])

    def arrive(self) -> None:
        self._plan = "starter"  # as it was when somebody looked
        self._quoted = ""  # the plan that was quoted last
        self._calls: list[str] = []  # that run
        super().arrive()

    def change_plan(self) -> None:
        """Preview another plan; mostly confirm, perhaps after a while."""
        plan = self.random.choice((*self._wanted(), "free"))
        keep = self.random.sample(self._bots(), k=min(2, len(self._bots())))
        body = {"plan": plan, "keep_bot_ids": keep}
        quoted = self.ask("preview", "POST", "/v1/billing/plan-change/preview", body)
        if quoted is None or self.random.random() < 0.15:
            return
        confirmed = self.ask(
            f"confirm {quoted['direction']}",
            "POST",
            "/v1/billing/plan-change/confirm",
            {"preview_id": quoted["preview_id"]},
        )
        if confirmed is not None and confirmed["status"] == "applied":
            promised = quoted["amount_due_now_minor"]
            assert confirmed["charged_minor"] == promised, (quoted, confirmed)

    def take_back(self) -> None:
        """Stay on the plan after all."""
        self.ask("take back", "DELETE", "/v1/billing/plan-change")

    def switch_overage(self) -> None:
        """Agree to more than the plan includes, or end that."""
        on = self.random.random() < 0.7
        self.ask(f"overage {on}", "PUT", "/v1/billing/overage", {"enabled": on})

    def usage(self) -> Json:
        if self.random.random() < 0.2:
            self._plan = self.plan
        most = INCLUDED.get(self._plan, 20_000) * 1_000 // 20
        total = self.random.randint(1, max(most, 2_000))
        output = self.random.randint(0, total)
        bots = [None, *self._bots()]
        return {
            "event_id": self.event_id(),
            "meter": "chat_generation",
            "action": self.random.choice(("proposal", "explanation", "diff", "chat")),
            "tokens": {"input": total - output, "output": output},
            "bot_id": self.random.choice(bots),
            "thread_id": self.random.choice((None, "t1", "t2")),
        }

    # Calls whose cost nobody knows before they are over.

    def begin(self) -> None:
        """Ask whether a call may run."""
        wanted, hold = self.usage()["tokens"], f"hold_{self.town.number()}"
        body = {
            "meter": "chat_generation",
            "estimate": {
                "input_tokens": wanted["input"],
                "max_output_tokens": wanted["output"],
            },
            "hold_id": hold,
            "ttl_seconds": self.random.choice((600, 86_400)),
            "bot_id": self.random.choice([None, *self._bots()]),
        }
        if self.ask("authorise", "POST", "/v1/usage/authorize", body) is not None:
            self._calls.append(hold)

    def end_call(self) -> None:
        """A call is over: it is settled for what it took, or let go. Or nobody says anything, and
        time ends it."""
        if not self._calls:
            self.begin()
        if not self._calls:
            return
        call = self._calls.pop()
        if self.random.random() < 0.1:
            return
        if self.random.random() < 0.2:
            why = {"reason": self.random.choice(("upstream_failed", "client_cancelled"))}
            self.ask("release", "DELETE", f"/v1/usage/holds/{call}", why)
            return
        done = self.ask("settle", "POST", "/v1/usage", self.usage() | {"hold_id": call})
        if done is not None:
            self._given.append(done["usage_id"])

    # A plan of one's own.

    def be_quoted(self) -> None:
        """Somebody in sales makes an offer; it is taken at once, later, or never."""
        quote = {
            "base": "enterprise",
            "overrides": {
                "price_minor": self.random.randint(15_000, 130_000),
                "buckets": {"ai_credits": {"units": self.random.randint(4_000, 200_000)}},
                "limits": {"bots": self.random.randint(2, 80)},
                "grace_days": self.random.choice((1, 21)),
                "overage_unit_usd": f"0.0{self.random.randint(1, 99):02}",
            },
        }
        path = f"/v1/admin/workspaces/{self.id}/custom-plan"
        if (made := self.ask("quote", "POST", path, quote)) is not None:
            self._quoted = made["plan_id"]

    def _wanted(self) -> tuple[str, ...]:
        """Plans that it may take, its own among them."""
        return (*self.plans, self._quoted, self._quoted) if self._quoted else self.plans

    # Bots.

    def _bots(self) -> list[str]:
        return [f"b{number:02}" for number in range(1, self._count + 1)] if self.is_here else []

    def add_bot(self) -> None:
        """One more, if the plan has room for it."""
        bot = f"b{self._count + 1:02}"
        path = f"/v1/workspaces/{self.id}/bots"
        if self.ask("bot", "POST", path, {"bot_id": bot, "name": f"Bot {bot}"}) is not None:
            self._count += 1

    def turn_bot(self) -> None:
        """Pause a bot, or let it run."""
        if self._count:
            bot, what = self.random.choice(self._bots()), self.random.choice(("pause", "resume"))
            self.town.shop.app.call("POST", f"/v1/workspaces/{self.id}/bots/{bot}/{what}")
            self.town.acts[what] += 1

    def remove_bot(self) -> None:
        """A bot goes."""
        if self._count:
            bot = self.random.choice(self._bots())
            self.town.shop.app.call("DELETE", f"/v1/workspaces/{self.id}/bots/{bot}")
            self.town.acts["remove bot"] += 1

    def deploy(self) -> None:
        """Ask whether a bot may be deployed."""
        if self._count:
            body = {"bot_id": self.random.choice(self._bots()), "deploy_id": self.event_id()}
            self.ask("deploy", "POST", f"/v1/workspaces/{self.id}/deploys/authorize", body)
