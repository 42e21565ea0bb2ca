"""Where Stripe's pages send the customer's browser afterwards."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from api.call import Call
from domain.errors import InvalidInput
from domain.payment.paying import Urls

LENGTH_MAX = 2_000


def billing_page(base: str, workspace_id: str) -> str:
    """The address of a workspace's Billing page."""
    return f"{base.rstrip('/')}/w/{quote(workspace_id, safe='')}/billing"


def urls_of(
    call: Call, success: str | None = None, cancel: str | None = None, *, done: str = ""
) -> Urls:
    """The addresses that were asked for, or those of our own Billing page, which then says what
    was ``done``.

    :raises InvalidInput: no address of the web.
    """
    page = billing_page(str(call.request.base_url), call.workspace_id)
    back = f"{page}?done={done}" if done else page
    return Urls(
        back if success is None else web_address(success, "success_url"),
        page if cancel is None else web_address(cancel, "cancel_url"),
    )


def web_address(text: str, name: str) -> str:
    """The text, if it is an http address. ``name`` is the field.

    :raises InvalidInput: it is none.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good or len(text) > LENGTH_MAX or not text.isprintable() or " " in text:
        raise InvalidInput((name,), "must be an http or https address")
    return text
