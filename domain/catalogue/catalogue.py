"""Plans, meters and policies as data: what a deployment sold when, and what it sells now.

A catalogue document (`domain/catalogue/document.py`) is published as an immutable version, and
pinned by subscriptions. Beside it stand the plans that were quoted to one workspace each.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from domain.catalogue.custom_plan import (
    CustomPlan,
    CustomPlanAccepted,
    CustomPlanDefined,
    CustomPlanWithdrawn,
    PlanOverrides,
    PlanStatusChanged,
    customised,
)
from domain.catalogue.document import Catalogue, Meter, OAuthTerms, PriceTerms, read_catalogue
from domain.catalogue.plan import Plan, PlanStatus
from domain.errors import Conflict, InvalidCatalogue, InvalidInput, NotFound
from domain.facts import Aggregate, Context, Fact
from domain.identity import stream_id

__all__ = [
    "CATALOGUE",
    "Catalogue",
    "CatalogueVersionPublished",
    "Meter",
    "OAuthTerms",
    "Offer",
    "Plan",
    "PlanCatalogue",
    "PriceTerms",
    "read_catalogue",
]

CATALOGUE = stream_id("plan_catalogue", "default")
"""The one catalogue stream of a deployment."""


class CatalogueVersionPublished(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A catalogue in force from here on; ``document`` is its canonical JSON. ``source`` says
    whether the deployment's own file was published, or an administrator's document."""

    version: int
    content_sha256: str
    document: str
    source: Literal["file", "admin"] = "file"

    def apply(self, aggregate: PlanCatalogue) -> None:
        catalogue = msgspec.json.decode(self.document, type=Catalogue)
        before = aggregate.versions[-1].plans if aggregate.versions else {}
        # The newer word on a plan's status counts: the document's only where it says another one.
        aggregate.statuses = {
            plan_id: status
            for plan_id, status in aggregate.statuses.items()
            if plan_id in catalogue.plans
            and plan_id in before
            and catalogue.plans[plan_id].status == before[plan_id].status
        }
        aggregate.versions = (*aggregate.versions, catalogue)
        aggregate.hashes = (*aggregate.hashes, self.content_sha256)
        if self.source == "file":
            aggregate.file_sha256 = self.content_sha256


class Offer(NamedTuple):
    """A plan as somebody who asks now would get it, and what a subscription pins of it."""

    plan_id: str
    version: int
    plan: Plan
    status: PlanStatus
    custom: CustomPlan | None = None

    def is_available(self, now: datetime) -> bool:
        """Whether it can be subscribed to at ``now``."""
        return self.status == "live" and (self.custom is None or self.custom.is_open(now))


class PlanCatalogue(Aggregate, omit_defaults=True, gc=False):
    """Every catalogue version that was ever in force, oldest first; and what was quoted to one
    workspace each."""

    category: ClassVar[str] = "plan_catalogue"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        CatalogueVersionPublished,
        PlanStatusChanged,
        CustomPlanDefined,
        CustomPlanAccepted,
        CustomPlanWithdrawn,
    )

    versions: tuple[Catalogue, ...] = ()
    hashes: tuple[str, ...] = ()
    statuses: dict[str, PlanStatus] = {}  # where it differs from the document's
    custom: dict[str, CustomPlan] = {}
    file_sha256: str = ""  # of the deployment's file, when it was last published

    @property
    def current(self) -> Catalogue:
        """The version in force. Deployments publish one before they serve."""
        return self.versions[-1]

    @property
    def current_version(self) -> int:
        """The number of the version in force: what a new subscription pins."""
        return len(self.versions)

    def plan(self, plan_id: str, version: int) -> Plan:
        """The plan as a subscription pinned it, the catalogue's or a custom one."""
        custom = self.custom.get(plan_id)
        if custom is not None:
            return custom.versions[version - 1]
        return self.versions[version - 1].plans[plan_id]

    def knows(self, plan: tuple[str, int], workspace_id: str) -> bool:
        """Whether a plan's version was ever published, or quoted to this workspace."""
        plan_id, version = plan
        custom = self.custom.get(plan_id)
        if custom is not None:
            return custom.workspace_id == workspace_id and 1 <= version <= len(custom.versions)
        return 1 <= version <= len(self.versions) and plan_id in self.versions[version - 1].plans

    def find(self, plan_id: str, workspace_id: str) -> Offer:
        """What a workspace gets that asks for a plan now; see `Offer.is_available`.

        :raises NotFound: there is none of this name, or it was quoted to somebody else.
        """
        custom = self.custom.get(plan_id)
        if custom is not None:
            if custom.workspace_id != workspace_id:
                raise NotFound("plan", plan_id)
            return Offer(plan_id, len(custom.versions), custom.versions[-1], "live", custom)
        plan = self.current.plans.get(plan_id)
        if plan is None:
            raise NotFound("plan", plan_id)
        return Offer(plan_id, self.current_version, plan, self.status_of(plan_id))

    def status_of(self, plan_id: str) -> PlanStatus:
        """Whether a plan of the version in force is sold, whoever said so last."""
        return self.statuses.get(plan_id) or self.current.plans[plan_id].status

    def offers_to(self, workspace_id: str | None) -> tuple[Offer, ...]:
        """Every plan of the version in force, then those quoted to the workspace."""
        own = (id for id, plan in self.custom.items() if plan.workspace_id == workspace_id)
        return tuple(self.find(id, workspace_id or "") for id in (*self.current.plans, *own))

    def amend_custom(self, plan_id: str, **changes: Any) -> None:
        """Note what became of a custom plan."""
        changed = msgspec.structs.replace(self.custom[plan_id], **changes)
        self.custom = {**self.custom, plan_id: changed}

    def publish(
        self,
        catalogue: Catalogue,
        content_sha256: str,
        context: Context,
        source: Literal["file", "admin"] = "file",
    ) -> int:
        """Put a validated catalogue in force, and answer its version.

        The content in force again is a no-op; so is a deployment's file that did not change
        since it was last published, whatever an administrator has published meanwhile.
        """
        if content_sha256 in self.hashes[-1:] or (
            source == "file" and content_sha256 == self.file_sha256
        ):
            return self.current_version
        if self.versions and self.current.currency != catalogue.currency:
            raise InvalidCatalogue(("currency",), "a deployment never changes its currency")
        if self.versions and self.current.catalogue != catalogue.catalogue:
            raise InvalidCatalogue(
                ("catalogue",),
                f"this ledger was opened with `{self.current.catalogue}`; use another database",
            )
        for plan_id in catalogue.plans.keys() & self.custom.keys():
            raise InvalidCatalogue(("plans", plan_id), "is the name of a workspace's custom plan")
        version = self.current_version + 1
        self.record(
            CatalogueVersionPublished(
                **self.stamp(context, f"catalogue:{version}:{content_sha256}"),
                version=version,
                content_sha256=content_sha256,
                document=msgspec.json.encode(catalogue, order="sorted").decode(),
                source=source,
            )
        )
        return version

    def change_status(self, plan_id: str, status: PlanStatus, context: Context) -> bool:
        """Sell a plan, or no more; False if that is how it is already.

        :raises NotFound: the version in force has no such plan.
        :raises InvalidInput: the default plan, that every new workspace begins with.
        """
        if plan_id not in self.current.plans:
            raise NotFound("plan", plan_id)
        if self.status_of(plan_id) == status:
            return False
        if plan_id == self.current.default_plan and status != "live":
            raise InvalidInput(("status",), "new workspaces begin with this plan: it stays live")
        stamp = self.stamp(context, f"plan_status:{self.version + 1}")
        self.record(PlanStatusChanged(**stamp, plan_id=plan_id, status=status))
        return True

    def define_custom(
        self,
        plan_id: str,
        workspace_id: str,
        base: str,
        overrides: PlanOverrides,
        quote_ref: str | None,
        valid_until: datetime | None,
        context: Context,
    ) -> Offer:
        """Quote a plan to one workspace; the same id again is its next version.

        :raises InvalidInput: no such base, or an override that makes no sense.
        :raises Conflict: the name is taken, by the catalogue or by another workspace's plan.
        """
        known = self.custom.get(plan_id)
        if plan_id in self.current.plans or (known and known.workspace_id != workspace_id):
            raise Conflict(f"the name {plan_id} is taken by another plan")
        if base not in self.current.plans or not self.current.plans[base].custom_base:
            bases = ", ".join(n for n, plan in self.current.plans.items() if plan.custom_base)
            raise InvalidInput(
                ("base",), f"is no base for custom plans; these are: {bases or 'none'}"
            )
        plan = customised(self.current.plans[base], overrides)
        for provider in set(plan.oauth) - self.current.oauth_providers.keys():
            raise InvalidInput(("overrides", "oauth"), f"unknown provider {provider}")
        if valid_until is not None and valid_until <= self.moment(context):
            raise InvalidInput(("valid_until",), "is over already")
        self.record(
            CustomPlanDefined(
                **self.stamp(context, f"custom_plan:{self.version + 1}"),
                plan_id=plan_id,
                workspace_id=workspace_id,
                custom_version=len(known.versions) + 1 if known else 1,
                base_plan=base,
                base_version=self.current_version,
                overrides=overrides,
                plan=plan,
                quote_ref=quote_ref,
                valid_until=valid_until,
            )
        )
        return self.find(plan_id, workspace_id)

    def accept_custom(self, plan_id: str, version: int, context: Context) -> bool:
        """Note that a custom plan's version was taken; False if it is no news, or none of ours."""
        custom = self.custom.get(plan_id)
        if custom is None or custom.accepted_version >= version:
            return False
        self.record(
            CustomPlanAccepted(
                **self.stamp(context, f"custom_plan_accepted:{plan_id}:{version}"),
                plan_id=plan_id,
                workspace_id=custom.workspace_id,
                custom_version=version,
            )
        )
        return True

    def withdraw_custom(self, plan_id: str, workspace_id: str, context: Context) -> Offer:
        """Take a quote back; who accepted it keeps the plan. Twice is once.

        :raises NotFound: the workspace has no such quote.
        """
        if not self.find(plan_id, workspace_id).custom:
            raise NotFound("custom plan", plan_id)
        if not self.custom[plan_id].withdrawn:
            self.record(
                CustomPlanWithdrawn(
                    **self.stamp(context, f"custom_plan_withdrawn:{self.version + 1}"),
                    plan_id=plan_id,
                    workspace_id=workspace_id,
                )
            )
        return self.find(plan_id, workspace_id)
