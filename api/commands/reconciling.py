"""`daybook reconcile`: Stripe's books against ours."""

import json
from typing import Annotated, Any

import typer

from api.client import Api
from api.commands.options import Data, Json, Key, Url, fail, running_on
from api.commands.plain import plain_errors
from api.running.deployment import state_folder

PATIENCE_S = 600.0


@plain_errors()
def reconcile(
    days: Annotated[int, typer.Option(min=1, max=30, help="How far to look back.")] = 3,
    url: Url = None,
    key: Key = None,
    json_: Json = False,
    data: Data = None,
) -> None:
    """Compare Stripe's books with ours: what webhooks lost is taken in, what that does not explain
    is reported and left as it is. Exit code 1 if there is any of that."""
    url, key = running_on(state_folder(data), url, key)
    with Api(url, key, patience=PATIENCE_S) as api:
        report = api.post("/v1/admin/reconcile", {"days": days})
    if json_:
        print(json.dumps(report))
    else:
        _show(report)
    if report["mismatches"]:
        fail(f"{len(report['mismatches'])} mismatches: somebody has to look at them.")


def _show(report: dict[str, Any]) -> None:
    checked = ", ".join(f"{count} {kind}" for kind, count in sorted(report["checked"].items()))
    print(f"Since {report['since']}: {checked or 'nothing there'}.")
    for one in report["applied"]:
        print(f"taken in  {one['object']} {one['id']} ({one['event_type']})")
    for one in report["mismatches"]:
        print(
            f"mismatch  {one['object']} {one['id']}: {one['what']}"
            f" (Stripe: {one['stripe']}; Daybook: {one['daybook']})"
        )
    if not report["applied"] and not report["mismatches"]:
        print("Both books agree.")
