"""A year of many workspaces against the sandbox of Stripe, and the verdict on every figure."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr

from tests.acceptance.year.place import place
from tests.acceptance.year.verdict import verdict
from tests.acceptance.year.year import KINDS, live

MODULE = "tests.acceptance.year"


def main() -> int:
    """Live the year on both catalogues; 0 if every figure is right."""
    parser = argparse.ArgumentParser(prog="scripts/year", description=__doc__)
    parser.add_argument("--workspaces", type=int, default=200, help="in all; half a catalogue")
    parser.add_argument("--seed", type=int, help="of a year to live again")
    parser.add_argument("--catalogue", choices=sorted(KINDS), help="only this one")
    parser.add_argument("--stride", type=int, default=12, help="mean step of time in hours")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else int(time.time())
    if asked.catalogue is not None:
        return year(asked.catalogue, seed, max(asked.workspaces // 2, 1), asked.stride)
    say(f"seed {seed}")
    terms = [f"--workspaces={asked.workspaces}", f"--seed={seed}", f"--stride={asked.stride}"]
    each = [
        subprocess.Popen([sys.executable, "-m", MODULE, f"--catalogue={name}", *terms])
        for name in sorted(KINDS)
    ]
    ends = [one.wait() for one in each]
    say("every figure is right" if not any(ends) else f"NOT right; again: --seed {seed}")
    return int(any(ends))


def year(catalogue: str, seed: int, workspaces: int, stride: int) -> int:
    """Live it on one catalogue; how many things are wrong (1 at most)."""
    begun = time.monotonic()
    with (
        tempfile.NamedTemporaryFile("w", prefix="year-", suffix=".log", delete=False) as log,
        redirect_stderr(log),
        place(catalogue) as shop,
    ):
        say(f"{catalogue}: {workspaces} workspaces, seed {seed}; log in {log.name}")
        town = live(shop, catalogue, seed, workspaces, say, stride=stride)
        for name, count in sorted(town.acts.items()):
            say(f"{catalogue} {count:7}  {name}")
        wrong = verdict(town, catalogue)
    for one in wrong:
        say(f"{catalogue} WRONG {one}")
    say(f"{catalogue}: {time.monotonic() - begun:.0f} s, {len(wrong)} wrong")
    return int(bool(wrong))


def say(words: str) -> None:
    """Progress, as it is made."""
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
