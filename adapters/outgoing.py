"""Sends webhooks in the format of Standard Webhooks, and never to where nobody may send us.

An address is resolved first, refused if it is not public, and then connected to as resolved: a
name that changes its mind in between gains nothing. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import httpx
from standardwebhooks import Webhook

from adapters.authorities import authorities

URL_MAX = 2000
PATIENCE_S = 15.0
"""For one attempt, from looking up the name to the answer's first line."""
AGENT = "Daybook-Webhooks/1"
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(OSError):
    """The address is one that outsiders must not make us talk to."""


class Answered(NamedTuple):
    """How an attempt went: a status, or the kind of error that prevented an answer."""

    status_code: int | None
    error: str | None
    duration_ms: int


class Sender:
    """Sends signed messages. ``local``: private addresses and plain HTTP are allowed too."""

    def __init__(self, *, local: bool, trusted: ssl.SSLContext | None = None) -> None:
        """``trusted``: the authorities to trust instead of the usual ones."""
        self._local = local
        self._http = httpx.AsyncClient(
            verify=trusted or authorities(),
            timeout=PATIENCE_S,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def send(
        self, url: str, message_id: str, body: str, secrets: Sequence[bytes], at: datetime
    ) -> Answered:
        """Send once. ``at`` is the machine's time: receivers compare it with theirs."""
        began = time.monotonic()
        status, error = None, None
        try:
            async with asyncio.timeout(PATIENCE_S):
                status = await self._post(url, message_id, body, secrets, at)
        except TimeoutError:
            error = "timeout"
        except AddressRefused:
            error = "address_not_allowed"
        except socket.gaierror:
            error = "name_not_resolved"
        except httpx.TimeoutException:
            error = "timeout"
        except (httpx.ConnectError, OSError):
            error = "not_connected"
        except (httpx.HTTPError, httpx.InvalidURL):
            error = "no_answer"
        return Answered(status, error, int((time.monotonic() - began) * 1000))

    async def _post(
        self, url: str, message_id: str, body: str, secrets: Sequence[bytes], at: datetime
    ) -> int:
        if url_refusal(url, local=self._local) is not None:
            raise AddressRefused  # It was allowed when it was registered.
        parts = urlsplit(url)
        address = await self._resolved(parts)
        host = f"[{address}]" if address.version == 6 else str(address)
        port = f":{parts.port}" if parts.port else ""
        target = parts._replace(netloc=f"{host}{port}", fragment="").geturl()
        request = self._http.build_request(
            "POST",
            target,
            content=body.encode(),
            headers={
                "Host": parts.netloc,
                "Content-Type": "application/json",
                "User-Agent": AGENT,
                **signed(message_id, body, secrets, at),
            },
            # The certificate must be that of the name, though we connect to its address.
            extensions={"sni_hostname": parts.hostname or ""},
        )
        response = await self._http.send(request, stream=True)
        await response.aclose()  # What they have to say about it is not read.
        return response.status_code

    async def _resolved(self, parts: SplitResult) -> Address:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(
            parts.hostname or "", port, type=socket.SOCK_STREAM
        )
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses or not (self._local or all(map(is_public, addresses))):
            raise AddressRefused
        return addresses[0]


def url_refusal(url: str, *, local: bool) -> str | None:
    """Why a URL cannot be an endpoint, or None."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        return "is no URL"
    if len(url) > URL_MAX or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        return f"must be at most {URL_MAX} visible ASCII characters"
    if parts.scheme not in (("https", "http") if local else ("https",)):
        return "must begin with https://"
    if not host or port == 0:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or a password; the signature says who sends"
    try:
        address: Address | None = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if not local and address is not None and not is_public(address):
        return "is not a public address"
    return None


def is_public(address: Address) -> bool:
    """Whether an address is of the public internet, also what it may be a wrapping of."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            return False
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def signed(message_id: str, body: str, secrets: Sequence[bytes], at: datetime) -> dict[str, str]:
    """The three headers; one signature for each secret, the newest first."""
    signatures = [Webhook(shown(secret)).sign(message_id, at, body) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def shown(secret: bytes) -> str:
    """A secret as it is given to its owner, once."""
    return f"whsec_{b64encode(secret).decode()}"
