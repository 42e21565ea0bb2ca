"""Names of accounts and commodities, as beancount has them: letters, digits and dashes."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256

UNITS = {"ai_credits": "CRED", "compile_tokens": "CTOK"}
UNIT_MAX = 20


@lru_cache(maxsize=100_000)
def component(name: str) -> str:
    """A part of an account's name: `ws_1` is `Ws-1`. Two names never become one: what cannot be
    read back has a mark of its own."""
    plain = re.sub(r"[^A-Za-z0-9]", "-", name)
    plain = plain[:1].upper() + plain[1:]
    if not re.fullmatch(r"[a-z0-9][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name):
        plain = f"X{plain}-{sha256(name.encode()).hexdigest()[:12]}"
    return plain


@lru_cache(maxsize=1_000)
def unit_of(bucket: str) -> str:
    """The commodity of a bucket's units: capitals, such as CRED and CTOK."""
    known = UNITS.get(bucket)
    if known is not None:
        return known
    plain = "U" + re.sub(r"[^A-Z0-9]", "-", bucket.upper())[: UNIT_MAX - 8]
    return f"{plain}-{sha256(bucket.encode()).hexdigest()[:5].upper()}"
