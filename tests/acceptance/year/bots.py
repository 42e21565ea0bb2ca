"""Which bots ran, recomputed; above all that nobody was locked out of one over money."""

from __future__ import annotations

from tests.acceptance.year.journal import Journal

CHOICES = ("PlanChanged", "SubscriptionStarted", "SubscriptionEnded")


def paused_wrongly(journal: Journal, workspace: str) -> list[str]:
    """What the plan paused without being asked to, or too many, or too few; in words."""
    wrong: list[str] = []
    entries = journal.by_workspace[workspace]
    chosen = {
        one.data["at"] for one in entries if one.kind in CHOICES and not one.data.get("involuntary")
    }
    forced = {one.data["at"] for one in entries if one.data.get("involuntary")}
    bots: dict[str, str] = {}  # id -> who paused it, "" for nobody
    cap: int | None = None
    for index, entry in enumerate(entries):
        bot, data = str(entry.data.get("bot_id")), entry.data
        if entry.kind == "LimitsChanged":
            cap = data["limits"].get("bots")
        elif entry.kind == "BotCreated":
            bots[bot] = ""
        elif entry.kind == "BotRemoved":
            bots.pop(bot)
        elif entry.kind == "BotResumed":
            bots[bot] = ""
        elif entry.kind == "BotPaused":
            active = sum(not by for by in bots.values())
            if data["by"] == "plan_limit" and (cap is None or active <= cap):
                wrong.append(f"{workspace}: {bot} was paused at {active} of {cap}")
            if data["by"] == "plan_limit" and (data["at"] in forced or data["at"] not in chosen):
                wrong.append(f"{workspace}: {bot} was paused at {data['at']}; nobody chose that")
            bots[bot] = data["by"]
        if entry.kind == "LimitsChanged" and data["at"] not in forced:
            later = [one for one in entries[index + 1 :] if one.data["at"] == data["at"]]
            pauses = sum(one.data.get("by") == "plan_limit" for one in later)
            active = sum(not by for by in bots.values())
            due = max(active - cap, 0) if cap is not None else 0
            if pauses != due:
                wrong.append(f"{workspace}: {active} bots, {cap} allowed, {pauses} paused")
    return wrong
