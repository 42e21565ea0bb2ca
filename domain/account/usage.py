"""One metered act, from the request body to the event, in a single type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Label = Annotated[str, Meta(min_length=1, max_length=255)]

MODES = ("strict", "record")


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Token counts. ``cached_input`` is part of ``input``, ``reasoning`` part of ``output``."""

    input: Count = 0
    cached_input: Count = 0
    output: Count = 0
    reasoning: Count = 0

    def __post_init__(self) -> None:
        if self.cached_input > self.input:
            raise ValueError("cached_input is part of input and cannot exceed it")
        if self.reasoning > self.output:
            raise ValueError("reasoning is part of output and cannot exceed it")


class Usage(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """A metered act as its service reports it; stored in the event as it came.

    ``event_id`` is the service's own id: sending it again is safe and charges nothing.
    ``occurred_at`` is when the tokens were consumed (with an offset; kept as UTC); left out, it
    is the moment of recording. ``mode`` is `strict` (may be refused) or `record` (a fact that
    already happened). ``route="oauth"`` asserts that the user's own provider account paid.
    """

    event_id: Label
    meter: Label
    tokens: Tokens = Tokens()
    occurred_at: Annotated[datetime, Meta(tz=True)] | None = None
    action: Label | None = None
    hold_id: Label | None = None
    mode: Literal["strict", "record"] = "strict"
    llm_model: Label | None = None
    provider: Label | None = None
    route: Literal["metered", "oauth"] = "metered"
    api_key_id: Label | None = None
    model_username: Label | None = None
    model_iam_id: Label | None = None
    face_id: Label | None = None
    bot_id: Label | None = None
    thread_id: Label | None = None

    def __post_init__(self) -> None:
        at = self.occurred_at
        if at is not None and at.tzinfo is not UTC:
            msgspec.structs.force_setattr(self, "occurred_at", at.astimezone(UTC))

    @property
    def all_tokens(self) -> int:
        """Input and output together; cached and reasoning tokens are already inside."""
        return self.tokens.input + self.tokens.output
