"""What the seller does in the simulated year: new prices and plans, migrations, the last word on
who never pays. None of it is any customer's wish."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from tests.acceptance.year.town import DAY, MODELS, Town, stamp
from tests.api.deployments import cli

CATALOGUES = Path(__file__).resolve().parents[3] / "adapters" / "catalogues"


class Seller:
    """Changes what is sold, as an administrator does."""

    def __init__(self, town: Town, catalogue: str) -> None:
        self._town = town
        self._random = town.random
        self._document: dict[str, Any] = yaml.safe_load(
            (CATALOGUES / f"{catalogue}.yaml").read_text()
        )
        self._sold = [
            name
            for name, plan in self._document["plans"].items()
            if plan["price_minor"] and plan["status"] == "live"
        ]
        self._changed: list[str] = []
        self.has_models = "price_book" in self._document

    def settle_on(self) -> None:
        """Decide anew what becomes of subscriptions that are never paid."""
        after = self._random.choice(("leave", "cancel", "unpaid"))
        self._town.order("/billing", after_last=after)
        self._town.acts[f"unpaid ones: {after}"] += 1

    def reprice(self) -> None:
        """New prices for models, from tomorrow on."""
        prices = [
            {
                "model": model,
                "input_usd_per_m": str(Decimal(self._random.randint(1, 300)).scaleb(-2)),
                "output_usd_per_m": str(Decimal(self._random.randint(1, 1_500)).scaleb(-2)),
                "cached_input_usd_per_m": str(Decimal(self._random.randint(1, 99)).scaleb(-3)),
            }
            for model in MODELS
        ]
        body = {
            "effective_from": stamp(self._town.now + DAY / 2),
            "markup_bps": self._random.choice((0, 500, 333)),
            "entries": prices,
        }
        self._town.ask("reprice", "POST", "/v1/admin/price-books", body)

    def republish(self) -> None:
        """A plan says something else from now on, for whoever takes it anew."""
        name = self._random.choice(self._sold)
        plan = self._document["plans"][name]
        plan["price_minor"] += self._random.choice((-7, 1, 100, 333))
        for bucket in plan["buckets"].values():
            bucket["units"] += self._random.choice((-13, 0, 50, 250))
        if plan.get("overage_unit_usd"):
            dearer = (
                Decimal(plan["overage_unit_usd"]) + Decimal(self._random.choice((-1, 1, 3))) / 1000
            )
            plan["overage_unit_usd"] = str(max(dearer, Decimal("0.001")))
        plan["grace_days"] = self._random.choice((plan["grace_days"], 5, 10))
        body = {"document": yaml.safe_dump(self._document)}
        if self._town.ask("republish", "POST", "/v1/admin/catalogue", body):
            self._changed.append(name)

    def migrate(self) -> None:
        """Bring subscribers of a plan that has changed to what it says now, by the command."""
        if not self._changed:
            return
        self._town.clear_up()
        plan, app = self._random.choice(self._changed), self._town.shop.app
        terms = ("--url", app.url, "--key", app.admin_key, "--json")
        done = cli("catalogue", "migrate", plan, *terms)
        if done.returncode != 0:
            assert self._town.is_mortal, done.stderr
            self._town.acts["migrate: broke off"] += 1
            return
        self._town.acts["migrate"] += 1
        for step in json.loads(done.stdout)["data"]:
            self._town.acts[f"migrated: {step['outcome']}"] += 1
