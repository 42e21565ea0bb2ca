"""How a page leaves the house: templates, versioned static files, and what a browser may load."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.dashboard import figures

HERE = Path(__file__).parent
STATIC = HERE / "static"

HEADERS = {
    # No other origin, no inline script and no inline style: what a template forgets to escape
    # still cannot run, and the page asks nobody else for anything.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # "no-referrer" would turn a form's Origin into "null"
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

FREEZE_WORDS = {
    "admin": "An administrator froze it",
    "chargeback": "A payment was charged back",
    "fraud": "Fraud is suspected",
}
LABEL_WORDS = {
    "llm_model": "Model",
    "model_username": "User",
    "api_key_id": "API key",
    "bot_id": "Bot",
    "thread_id": "Thread",
    "meter": "Meter",
}
SOURCE_WORDS = {
    "wallet": "Credit",
    "allowance": "Included units",
    "overage": "Overage",
    "oauth": "Your own provider account",
    "absorbed": "Nobody: absorbed, never billed",
}


def asset(name: str) -> str:
    """The address of a static file, which changes with its content."""
    if name not in _ASSETS:
        digest = sha256((STATIC / name).read_bytes()).hexdigest()[:12]
        _ASSETS[name] = f"/static/{name}?v={digest}"
    return _ASSETS[name]


_ASSETS: dict[str, str] = {}


def path(*parts: str) -> str:
    """An address on this site; each part is quoted, so that none can leave its place."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


_PAGES = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals.update(
    asset=asset,
    path=path,
    units=figures.units,
    amount=figures.amount,
    count=figures.count,
    exact=figures.exact,
    percent=figures.percent,
    moment=figures.moment,
    day=figures.day,
    until=figures.until,
    freeze_words=FREEZE_WORDS,
    source_words=SOURCE_WORDS,
    label_words=LABEL_WORDS,
)


def fragment(template: str, **context: Any) -> str:
    """A template as text."""
    return _PAGES.get_template(template).render(**context)


def page(
    template: str, status: int = 200, *, signed_in: bool = True, **context: Any
) -> HTMLResponse:
    """A template as a response, with the headers that keep it to this origin."""
    body = fragment(template, signed_in=signed_in, **context)
    return HTMLResponse(body, status, headers=HEADERS)
