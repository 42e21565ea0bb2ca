"""Every read model that the runner keeps."""

from __future__ import annotations

from projections.balances import Balances
from projections.bots import Bots
from projections.due_work import DueWork
from projections.expiries import Expiries
from projections.invoices import Invoices
from projections.payments import Payments
from projections.plan_comparison import PlanComparison
from projections.read_model import ReadModel
from projections.usage_events import UsageEvents
from projections.usage_hourly import UsageHourly
from projections.workspace_status import WorkspaceStatus
from projections.workspaces import Workspaces

MODELS: tuple[type[ReadModel], ...] = (
    Balances,
    UsageEvents,
    UsageHourly,
    Expiries,
    Workspaces,
    Bots,
    WorkspaceStatus,
    DueWork,
    Invoices,
    Payments,
    PlanComparison,
)
