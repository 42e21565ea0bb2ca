"""Customers of Faces: a wallet, top-ups by hand and by themselves, and the Connect plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from adapters.stripe.sandbox.books import Json
from tests.acceptance.year.customer import Customer
from tests.acceptance.year.town import MODELS


class FacesCustomer(Customer):
    """Spends money on chats, and compiles within its quota or beyond it."""

    plans = ("connect",)
    weights: ClassVar[Mapping[str, int]] = {
        "use": 50,
        "report_late": 6,
        "subscribe": 8,
        "cancel": 3,
        "cancel_in_portal": 2,
        "resume": 2,
        "change_card": 6,
        "pay_up": 6,
        "be_forgiven": 1,
        "be_refunded": 4,
        "top_up": 14,
        "order_auto_topup": 3,
        "switch_overflow": 3,
        "link": 3,
        "unlink": 2,
        "be_given": 2,
        "deal_with_dispute": 8,
        "give_back": 3,
        "downgrade": 2,
    }

    def arrive(self) -> None:
        super().arrive()
        self.ask("portal", "POST", "/v1/billing/portal", {})
        self.change_card()

    def usage(self) -> Json:
        meter = self.random.choices(("chat", "compile", "interview"), (6, 3, 2))[0]
        total = self.random.randint(0, 150_000 if meter == "chat" else 30_000)
        output = self.random.randint(0, total)
        cached = self.random.randint(0, total - output)
        return {
            "event_id": self.event_id(),
            "meter": meter,
            "llm_model": self.random.choice(MODELS),
            "tokens": {"input": total - output, "cached_input": cached, "output": output},
            "model_username": self.random.choice(("alice", "bob")),
            "mode": self.random.choices(("strict", "record"), (5, 1))[0],
        }

    def top_up(self) -> None:
        """Charge the saved card."""
        cents = self.random.choice((500, 2_000, self.random.randint(100, 9_999)))
        amount = f"{cents // 100}.{cents % 100:02}"
        self.ask("top up", "POST", "/v1/billing/topup", {"amount_usd": amount})

    def order_auto_topup(self) -> None:
        """Let the card be charged when little is left."""
        body = {
            "enabled": self.random.random() < 0.8,
            "threshold_usd": self.random.randint(1, 5),
            "amount_usd": self.random.randint(5, 30),
            "monthly_cap_usd": 200,
        }
        self.ask("auto top-up", "PUT", "/v1/billing/auto-topup", body)

    def switch_overflow(self) -> None:
        """Let the wallet pay for compilations beyond the quota, or not."""
        body = {"allow_compile_overflow": self.random.random() < 0.7}
        self.ask("overflow", "PATCH", "/v1/billing/compile-quota", body)

    def link(self) -> None:
        """The user's own account pays from now on."""
        self.ask("link", "POST", "/v1/oauth/openai", {})

    def unlink(self) -> None:
        """It does not any more."""
        self.ask("unlink", "DELETE", "/v1/oauth/openai")

    def be_given(self) -> None:
        """Credits as a present, for a while."""
        ends = self.town.now.replace(year=self.town.now.year + 1, day=1)
        body = {"amount_usd": self.random.randint(1, 9), "category": "promotional"}
        if self.random.random() < 0.5:
            body["expires_at"] = ends.isoformat()
        self.ask("gift", "POST", f"/v1/admin/workspaces/{self.id}/credits", body)

    def downgrade(self) -> None:
        """To the free plan, by a change of plan."""
        quoted = self.ask("preview", "POST", "/v1/billing/plan-change/preview", {"plan": "free"})
        if quoted is not None:
            body = {"preview_id": quoted["preview_id"]}
            self.ask("confirm free", "POST", "/v1/billing/plan-change/confirm", body)
