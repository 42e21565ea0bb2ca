"""Texts that people write, which have to say something: what is blank is refused."""

from typing import Annotated

from msgspec import Meta

NOT_BLANK = r"\S"
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=NOT_BLANK)]
Reference = Annotated[str, Meta(min_length=1, max_length=255, pattern=NOT_BLANK)]
"""Of a ticket, a quote or an offer in somebody's own books; an id that a caller chooses."""
Text = Annotated[str, Meta(min_length=1, max_length=1000, pattern=NOT_BLANK)]
