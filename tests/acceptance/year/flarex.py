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
    }

    _count = 0  # bots that were ever made

    @property
    def plan(self) -> str:
        """The plan in force."""
        return str(self.get("/v1/billing/subscription")["plan"])

    def arrive(self) -> None:
        super().arrive()
        self._given: list[str] = []  # acts that may be taken back
        self._plan = "starter"  # as it was when somebody looked

    def change_plan(self) -> None:
        """Preview another plan; mostly confirm, perhaps after a while."""
        plan = self.random.choice((*self.plans, "free"))
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
        most = INCLUDED[self._plan] * 1_000 // 12
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

    def _send(self, acts: list[Json]) -> None:
        done = self.ask("use", "POST", "/v1/usage/batch", {"items": acts})
        for result in done["results"]:
            self.town.acts[f"use: {result.get('problem', {}).get('code', result['status'])}"] += 1
            assert result["status"] in (200, 201, 402), result
            if result["status"] == 201:
                self._given.append(result["result"]["usage_id"])

    def give_back(self) -> None:
        """The service takes an act back that it should not have sent."""
        if self._given:
            act = self._given.pop(self.random.randrange(len(self._given)))
            self.ask("void", "POST", f"/v1/usage/{act}/void", {"reason": "a mistake"})

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
