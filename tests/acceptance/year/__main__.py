"""A year of many workspaces against the sandbox of Stripe, and the verdict on every figure."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from random import Random
from typing import IO

from tests.acceptance.year.journal import Journal, read
from tests.acceptance.year.place import place
from tests.acceptance.year.verdict import verdict
from tests.acceptance.year.year import KINDS, Pace, live

MODULE = "tests.acceptance.year"


def main() -> int:
    """Live the year on both catalogues; 0 if every figure is right."""
    parser = argparse.ArgumentParser(prog="scripts/year", description=__doc__)
    parser.add_argument("--workspaces", type=int, default=200, help="on each catalogue")
    parser.add_argument("--seed", type=int, help="of a year to live again")
    parser.add_argument("--catalogue", choices=sorted(KINDS), help="only this one")
    parser.add_argument("--stride", type=float, default=Pace.stride, help="mean step of time, h")
    parser.add_argument("--busy", type=float, default=Pace.busy, help="a workspace's wishes a day")
    parser.add_argument("--kills", type=int, default=Pace.kills, help="on each catalogue; 0: none")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else int(time.time())
    pace = Pace(asked.stride, asked.busy, asked.kills)
    if asked.catalogue is not None:
        return year(asked.catalogue, seed, asked.workspaces, pace)
    say(f"seed {seed}")
    begun = time.monotonic()
    given = ("workspaces", "stride", "busy", "kills")
    terms = [f"--seed={seed}", *(f"--{name}={getattr(asked, name)}" for name in given)]
    each = [
        subprocess.Popen([sys.executable, "-m", MODULE, f"--catalogue={name}", *terms])
        for name in sorted(KINDS)
    ]
    ends = [one.wait() for one in each]
    word = "every figure is right" if not any(ends) else "NOT every figure is right"
    say(f"year: seed {seed}, {word}, {time.monotonic() - begun:,.0f} s in all")
    return int(any(ends))


def year(catalogue: str, seed: int, workspaces: int, pace: Pace) -> int:
    """Live it on one catalogue; how many things are wrong (1 at most)."""
    begun = time.monotonic()
    kills = Random(seed) if pace.kills else None
    with (
        tempfile.NamedTemporaryFile("w", prefix="year-", suffix=".log", delete=False) as log,
        redirect_stderr(log),
        place(catalogue, kills) as shop,
    ):
        say(f"{catalogue}: {workspaces} workspaces, seed {seed}; log in {log.name}")
        town = live(shop, catalogue, seed, workspaces, say, pace)
        for name, count in sorted(town.acts.items()):
            say(f"{catalogue} {count:7,}  {name}")
        lived = time.monotonic() - begun
        found = verdict(town)
        for one in found.wrong:
            say(f"{catalogue} WRONG {one}")
        tell(read(shop.app.database), found.wrong, log)
        took = f"lived in {lived:,.0f} s, judged in {time.monotonic() - begun - lived:,.0f} s"
        say(f"{catalogue}: {workspaces} workspaces, seed {seed}, {found}; {took}")
    return int(bool(found.wrong))


def tell(journal: Journal, wrong: Sequence[str], log: IO[str]) -> None:
    """Everything that is known of a workspace with which something is wrong: the database of a
    year is gone when it ends."""
    for workspace in journal.workspaces:
        if any(workspace in one for one in wrong):
            for entry in journal.by_workspace[workspace]:
                print(entry.position, entry.kind, json.dumps(entry.data), file=log)


def say(words: str) -> None:
    """Progress, as it is made."""
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
