"""Catalogue documents: YAML in, a checked `Catalogue` and its content hash out."""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import yaml

from domain.catalogue.document import (
    Catalogue,
    Meter,
    OAuthTerms,
    PriceTerms,
    read_catalogue,
)
from domain.catalogue.plan import BucketTerms, Plan
from domain.catalogue.price_book import PriceEntry
from domain.errors import InvalidCatalogue
from domain.money import parse_usd

FOLDER = Path(__file__).parent
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "meters": Meter,
    "plans": Plan,
    "oauth_providers": OAuthTerms,
}
UNKNOWN = re.compile(r"unknown field `(.+)`")
PROVIDERS = {
    "gpt-": "openai",
    "chatgpt-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "text-": "openai",
    "claude-": "anthropic",
    "gemini-": "google",
}
"""Whose a model is, by how its name begins; the document does not say."""


class CatalogueUnusable(RuntimeError):
    """The deployment must not start with this document; the message names file, line, field."""


def load(name_or_path: str) -> tuple[Catalogue, str]:
    """A catalogue of this folder by its name, or any other by its path, with its SHA-256 (hex).

    The hash is of what the document says, so comments and layout do not make a new version.

    :raises CatalogueUnusable: missing, not YAML, or against a rule.
    """
    path = FOLDER / f"{name_or_path}.yaml"
    if not name_or_path.isidentifier() or not path.is_file():
        path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise CatalogueUnusable(
            f"The catalogue {name_or_path} cannot be read ({error}). Name one of {known}, or a "
            "YAML file."
        ) from None
    return parse(text, str(path))


@lru_cache(maxsize=8)  # reading YAML takes as long as all else that an application does at start
def parse(text: str, source: str) -> tuple[Catalogue, str]:
    """As `load`, from the text of a document; ``source`` names it in messages."""
    try:
        reader = _Strict(text)
        root = reader.get_single_node()
        document = reader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        raise CatalogueUnusable(f"{source} is not a catalogue: {error}") from None
    try:
        catalogue = read_catalogue(document)
        price_entries(catalogue)
    except InvalidCatalogue as wrong:
        loc, message = _narrowed(document, wrong)
        field = ".".join(map(str, loc)) or "the document"
        raise CatalogueUnusable(f"{source}:{_line(root, loc)}: {field}: {message}") from None
    canonical = msgspec.json.encode(catalogue, order="sorted")
    return catalogue, sha256(canonical).hexdigest()


def price_entries(catalogue: Catalogue) -> tuple[PriceEntry, ...]:
    """The prices that a catalogue ships, in integer µ per million tokens.

    :raises InvalidCatalogue: a price that is negative or finer than a micro.
    """
    if catalogue.price_book is None:
        return ()
    starts_at(catalogue.price_book)
    entries = []
    for model, prices in catalogue.price_book.per_million_usd.items():
        loc = ("price_book", "per_million_usd", model)
        try:
            given, cached, output = (parse_usd(price, digits=6) for price in prices)
        except ValueError as wrong:
            raise InvalidCatalogue(loc, str(wrong)) from None
        if min(given, cached, output) < 0:
            raise InvalidCatalogue(loc, "a price cannot be negative")
        entries.append(PriceEntry(model, given, cached, output, provider_of(model)))
    return tuple(entries)


def starts_at(terms: PriceTerms) -> datetime:
    """From when the shipped prices are in force, UTC.

    :raises InvalidCatalogue: not a time with an offset.
    """
    try:
        moment = datetime.fromisoformat(terms.effective_from)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidCatalogue(
            ("price_book", "effective_from"), "is no time such as 2026-01-01T00:00:00Z"
        ) from None


def provider_of(model: str) -> str:
    """The provider that a well known model name implies, or "" for any."""
    return next((p for prefix, p in PROVIDERS.items() if model.startswith(prefix)), "")


class _Strict(yaml.SafeLoader):
    """YAML without surprises: no key twice; dates and fractions stay the text they are."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is no text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} stands here twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


AS_TEXT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")
_Strict.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in AS_TEXT]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _narrowed(document: Any, wrong: InvalidCatalogue) -> tuple[tuple[str | int, ...], str]:
    """The whole path: msgspec's leaves out which key of a mapping it was in."""
    loc, message = wrong.loc, wrong.message
    if loc and isinstance(document, dict) and loc[0] in SECTIONS:
        section = str(loc[0])
        found = _first_wrong(document.get(section), SECTIONS[section])
        if found is not None:
            loc, message = (section, *found[0]), found[1]
            within = _at(document, loc[:2])
            if loc[2:3] == ("buckets",) and isinstance(within, dict):
                found = _first_wrong(within.get("buckets"), BucketTerms)
                if found is not None:
                    loc, message = (*loc[:3], *found[0]), found[1]
    unknown = UNKNOWN.search(message)
    return (loc, message) if unknown is None else ((*loc, unknown[1]), "there is no such field")


def _first_wrong(
    entries: Any, kind: type[msgspec.Struct]
) -> tuple[tuple[str | int, ...], str] | None:
    """The first entry of a mapping that is not of the kind, the path within, and what is wrong."""
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        try:
            msgspec.convert(entry, kind, strict=True)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            rest = (part for part in path.rstrip("`").replace("[...]", "").split(".") if part)
            return (name, *rest), message
    return None


def _at(document: Any, loc: tuple[str | int, ...]) -> Any:
    for part in loc:
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _line(node: yaml.Node | None, loc: tuple[str | int, ...]) -> int:
    """The line of the deepest part of the path that the document has."""
    line = node.start_mark.line if node is not None else 0
    for part in loc:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        if found is None:
            break
        line, node = found[0].start_mark.line, found[1]
    return line + 1
