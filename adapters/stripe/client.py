"""The client that asks Stripe, or the sandbox, or nobody; and what its silence means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx
import stripe
import structlog
from anyio import sleep

from adapters.authorities import authorities
from adapters.settings import Settings
from domain.errors import StripeOutcomeUnknown, StripeUnavailable

API_VERSION = "2026-10-28.endive"
"""What our code was written against; an account's default version does not matter."""

RETRIES_MAX = 1
LOOPBACK = ("127.0.0.1", "localhost", "::1")
RETRY_AFTER_S = 5
IN_USE = 409
"""The first request with this idempotency key is not answered yet."""

log = structlog.get_logger("daybook.stripe")


class StripeNotConfigured(StripeUnavailable):
    """This deployment was given no keys of Stripe."""

    def __str__(self) -> str:
        return (
            "This deployment has no Stripe: set STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET, or "
            "start it with scripts/run, which brings a sandbox."
        )


def make_client(settings: Settings) -> stripe.StripeClient:
    """A client for the asynchronous methods of one event loop; nothing is asked yet.

    Every POST carries an idempotency key (the caller's, else one of the library's), so what the
    network swallowed is asked once more. Without keys every call raises `StripeNotConfigured`.
    """
    if not settings.stripe_key:
        return stripe.StripeClient("sk_none", http_client=Nobody())
    url = settings.stripe_url
    return stripe.StripeClient(
        settings.stripe_key,
        stripe_version=API_VERSION,
        base_addresses={"api": url} if url else {},
        max_network_retries=RETRIES_MAX,
        http_client=Line(url or "", settings.stripe_patience_s),
    )


async def close_client(client: stripe.StripeClient) -> None:
    """Let go of its connections."""
    line = client._requestor._client  # the library has no other way to it
    if isinstance(line, Line):
        await line.close_async()


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Ask Stripe within this block; ``what`` names the act in the log.

    Answers stay what they are: `stripe.CardError` (declined) and `stripe.InvalidRequestError`
    (no such object, or not in this state) are the caller's to understand.

    :raises StripeOutcomeUnknown: asked, but nobody knows whether it was done.
    :raises StripeUnavailable: nothing was done.
    """
    try:
        yield
    except (stripe.CardError, stripe.InvalidRequestError):
        raise
    except (stripe.RateLimitError, stripe.AuthenticationError, stripe.PermissionError) as error:
        log.error("stripe_refused", what=what, error=type(error).__name__, code=error.code)
        raise StripeUnavailable(RETRY_AFTER_S) from None
    except stripe.IdempotencyError as error:
        if error.http_status != IN_USE:
            raise  # one key for two acts: a mistake of ours
        raise StripeOutcomeUnknown(RETRY_AFTER_S) from None
    except (stripe.APIConnectionError, stripe.APIError) as error:
        log.warning("stripe_did_not_answer", what=what, error=type(error).__name__)
        raise StripeOutcomeUnknown(RETRY_AFTER_S) from None


class Line(stripe.HTTPClient):
    """HTTP to Stripe. ``patience_s`` is how long one answer is waited for."""

    name = "httpx"

    def __init__(self, url: str, patience_s: float) -> None:
        super().__init__()
        # Proxies are for the world outside.
        trust = urlsplit(url).hostname not in LOOPBACK
        timeout = httpx.Timeout(patience_s, connect=min(patience_s, 3.0))
        self._http = httpx.AsyncClient(timeout=timeout, trust_env=trust, verify=authorities())

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            response = await self._http.request(method, url, headers=headers, content=post_data)
        except httpx.HTTPError as error:
            why = f"Stripe was not reached ({type(error).__name__})."
            raise stripe.APIConnectionError(why, should_retry=True) from None  # type: ignore[no-untyped-call]
        return response.content, response.status_code, response.headers

    async def sleep_async(self, seconds: float) -> None:
        await sleep(seconds)

    async def close_async(self) -> None:
        await self._http.aclose()


class Nobody(stripe.HTTPClient):
    """There is no Stripe to ask."""

    name = "nobody"

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> NoReturn:
        raise StripeNotConfigured(60)

    async def close_async(self) -> None:
        """Nothing to let go of."""
