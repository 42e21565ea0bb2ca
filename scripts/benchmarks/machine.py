"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psycopg

SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
PACKAGES = ("eventsourcing", "psycopg", "msgspec", "uvloop", "uvicorn", "fastapi")


def machine(url: str, folder: Path) -> dict[str, str]:
    """Facts by name. ``url`` is the server's, ``folder`` where its data lie."""
    with psycopg.connect(url) as connection:
        server = connection.info.parameter_status("server_version") or "?"
        settings = []
        for name in SETTINGS:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            settings.append(f"{name}={row[0] if row else '?'}")
    load = os.getloadavg()[0]
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores (load before: {load:.1f})",
        "kernel": f"{platform.system()} {platform.release()}",
        "PostgreSQL": f"{server}, {', '.join(settings)}",
        "data on": _filesystem(folder),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _filesystem(folder: Path) -> str:
    """The kind of file system, where the kernel says it: on `tmpfs` fsync costs nothing."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "an unknown file system"
    place = folder.resolve()
    found = [m for m in mounts if place.is_relative_to(m[1].replace("\\040", " "))]
    return max(found, key=lambda mount: len(mount[1]))[2] if found else "an unknown file system"
