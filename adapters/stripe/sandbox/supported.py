"""What Stripe knows and the sandbox does not is refused aloud, never quietly ignored."""

from __future__ import annotations

from collections.abc import Iterable

from adapters.stripe.sandbox.books import Json
from adapters.stripe.sandbox.errors import invalid


def only(params: Json, names: Iterable[str], inside: str = "") -> None:
    """400 for a parameter that passed Stripe's contract but has no effect in the sandbox.

    `inside` is the parameter that holds these, for the error's `param`.
    """
    for name in params.keys() - set(names) - {"expand"}:
        param = f"{inside}[{name}]" if inside else name
        raise invalid(f"The sandbox does not play `{param}`; Stripe would.", param)
