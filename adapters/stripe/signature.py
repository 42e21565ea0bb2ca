"""Whether a webhook's body comes from Stripe: a keyed hash over its bytes and a time."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

TOLERANCE_S = 300
SCHEME = "v1"


class SignatureInvalid(ValueError):
    """The body is not what Stripe signed for us, or not now. Says which, and nothing of it."""


def sign(body: bytes, secret: str, at: int) -> str:
    """The header `Stripe-Signature` of a body that is sent at a time (unix s)."""
    return f"t={at},{SCHEME}={_digest(body, secret, at)}"


def verify(body: bytes, header: str | None, secrets: Sequence[str], now: int) -> None:
    """Let a body pass that one of the secrets signed at most 300 s from ``now`` (unix s). While
    a secret is rotated there are two, and Stripe signs with both.

    :raises SignatureInvalid: it was not.
    """
    at, signatures = _parts(header or "")
    if not signatures:
        raise SignatureInvalid("The header Stripe-Signature holds no time and signature.")
    expected = [_digest(body, secret, at) for secret in secrets]
    if not any(
        hmac.compare_digest(one.encode(), sent.encode()) for one in expected for sent in signatures
    ):
        raise SignatureInvalid("The signature is not of this body, or of another secret.")
    if abs(now - at) > TOLERANCE_S:
        raise SignatureInvalid(f"It was signed more than {TOLERANCE_S} s from now.")


def _parts(header: str) -> tuple[int, list[str]]:
    at, signatures = 0, []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t" and value.isascii() and value.isdecimal() and len(value) <= 12:
            at = int(value)
        elif name == SCHEME:
            signatures.append(value)
    return (at, signatures) if at else (0, [])


def _digest(body: bytes, secret: str, at: int) -> str:
    return hmac.new(secret.encode(), b"%d." % at + body, sha256).hexdigest()
