"""Every read model that the runner keeps."""

from __future__ import annotations

from projections.balances import Balances
from projections.expiries import Expiries
from projections.read_model import ReadModel
from projections.usage_events import UsageEvents
from projections.usage_hourly import UsageHourly
from projections.workspaces import Workspaces

MODELS: tuple[type[ReadModel], ...] = (Balances, UsageEvents, UsageHourly, Expiries, Workspaces)
