"""The test cases that the `eventsourcing` library ships for recorders, made importable.

Their module imports the library's AES cipher, and with it a package that nothing here uses: our
column is never encrypted. An empty name in its place is enough.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

if importlib.util.find_spec("Crypto") is None:
    cipher = ModuleType("eventsourcing.cipher")
    cipher.AESCipher = object  # type: ignore[attr-defined]
    sys.modules.setdefault(cipher.__name__, cipher)

from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

__all__ = [
    "AggregateRecorderTestCase",
    "ApplicationRecorderTestCase",
    "NonInterleavingNotificationIDsBaseCase",
]
