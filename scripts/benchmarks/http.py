"""stub"""

from scripts.benchmarks.ground import Ground
from scripts.benchmarks.pace import Pace
from scripts.benchmarks.rows import Report


def measure(place: Ground, report: Report, pace: Pace) -> None:
    """x"""
