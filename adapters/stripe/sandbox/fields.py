"""What many objects share: metadata, and the changes that an event tells."""

from __future__ import annotations

from typing import Any

from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.route import Json

KEYS_MAX = 50
KEY_CHARS_MAX = 40
VALUE_CHARS_MAX = 500


def merged(metadata: dict[str, str], given: dict[str, str] | str | None) -> dict[str, str]:
    """Metadata after a request: an empty value unsets its key, an empty whole unsets all."""
    if given is None:
        return metadata
    if isinstance(given, str):
        return {}
    result = {name: value for name, value in (metadata | given).items() if value != ""}
    if len(result) > KEYS_MAX:
        raise invalid(f"You can specify up to {KEYS_MAX} metadata keys.", "metadata")
    for name, value in result.items():
        if len(name) > KEY_CHARS_MAX:
            text = f"Metadata keys can have up to {KEY_CHARS_MAX} characters: {name}"
            raise invalid(text, "metadata")
        if len(value) > VALUE_CHARS_MAX:
            text = f"Metadata values can have up to {VALUE_CHARS_MAX} characters."
            raise invalid(text, f"metadata[{name}]")
    return result


def changed(before: Json, after: Json) -> Json:
    """The former values of what differs, as `previous_attributes` has them."""
    previous: dict[str, Any] = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        nested = isinstance(old, dict) and isinstance(new, dict)
        previous[name] = changed(old, new) if nested else old  # type: ignore[arg-type]
    return previous


def text_or_none(value: str | None) -> str | None:
    """A text that "" unsets."""
    return value or None
