"""How the sandbox draws its hosted pages: plain HTML, nothing from elsewhere, all escaped."""

from __future__ import annotations

import hmac
import secrets
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from adapters.stripe.sandbox.route import ROUTES, Books, Call, Html, Json, StripeError, Visit

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "sandbox.css").read_text()
_STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
# Forms may lead to any site: a payment ends at the address that its session was made with.
POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'"

SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£"}
WITHOUT_CENTS = frozenset({"clp", "jpy", "krw", "vnd", "xaf", "xof", "xpf"})


class TrialCard(NamedTuple):
    """A card to click: what happens when it is used."""

    number: str
    words: str

    @property
    def spaced(self) -> str:
        """The number in groups of four."""
        return " ".join(self.number[at : at + 4] for at in range(0, len(self.number), 4))


TEST_CARDS = (
    TrialCard("4242424242424242", "Visa, succeeds"),
    TrialCard("5555555555554444", "Mastercard, succeeds"),
    TrialCard("4000000000000002", "Declined"),
    TrialCard("4000000000009995", "Declined: insufficient funds"),
    TrialCard("4000002500003155", "Asks for authentication once, to set it up"),
    TrialCard("4000002760003184", "Asks for authentication always"),
    TrialCard("4000000000000341", "Can be saved, later charges fail"),
    TrialCard("4000000000000259", "Succeeds, is then disputed"),
)

_PAGES = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals.update(style=Markup(STYLE), policy=POLICY, test_cards=TEST_CARDS)  # noqa: S704


def html(template: str, heading: str, status: int = 200, **context: Any) -> Html:
    """A template as a page."""
    body = _PAGES.get_template(template).render(heading=heading, **context)
    return Html(body, status)


def notice(
    heading: str,
    words: str,
    onward: str | None = None,
    onward_words: str = "Go on",
    status: int = 200,
) -> Html:
    """A page that only says something."""
    return html(
        "notice.html", heading, status, words=words, onward=onward, onward_words=onward_words
    )


# -- forms ----------------------------------------------------------------------------------------


def token(books: Books, place: str) -> str:
    """What a form on the page of `place` must carry: nobody else can know it."""
    kept = books.look("sandbox.page_key", "page_key")
    if kept is None:
        kept = books.put(
            {"object": "sandbox.page_key", "id": "page_key", "key": secrets.token_hex(32)}
        )
    return hmac.new(kept["key"].encode(), place.encode(), sha256).hexdigest()


def is_ours(visit: Visit, place: str) -> bool:
    """Whether the form that was sent came from our own page of `place`."""
    return hmac.compare_digest(visit.form.get("token", ""), token(visit.books, place))


def foreign() -> Html:
    """The answer to a form that did not."""
    return notice("Not accepted", "This form was not sent from the sandbox's own page.", status=403)


# -- what a page does, it does through Stripe's own API -------------------------------------------


def ask(books: Books, method: str, path: str, /, params: Json | None = None, **where: str) -> Json:
    """Carry out an operation, such as ``ask(books, "GET", "/v1/prices/{id}", id="price_1")``.

    :raises StripeError: as the API answers it; what is not `kept` of it is undone.
    """
    with books.transaction():
        return ROUTES[method, path](Call(books, where, params or {}))


def card_of(form: dict[str, str]) -> Json:
    """The card that a form names, as `payment_method_data` has it.

    :raises StripeError: the number or the expiry is none.
    """
    number = "".join(form.get("card", "").split()).replace("-", "")
    month, _, year = form.get("expiry", "12/34").replace(" ", "").partition("/")
    cvc = form.get("cvc", "123").strip()
    if not (number.isdecimal() and number.isascii() and 12 <= len(number) <= 19):
        raise _wrong("Your card number is incorrect.", "incorrect_number", "number")
    if not (month.isdecimal() and month.isascii() and 1 <= int(month) <= 12):
        raise _wrong(
            "Your card's expiration month is invalid.", "invalid_expiry_month", "exp_month"
        )
    if not (year.isdecimal() and year.isascii() and len(year) in (2, 4)):
        raise _wrong("Your card's expiration year is invalid.", "invalid_expiry_year", "exp_year")
    whole_year = int(year) + 2000 if len(year) == 2 else int(year)
    card = {"number": number, "exp_month": int(month), "exp_year": whole_year, "cvc": cvc}
    return {"type": "card", "card": card}


def _wrong(words: str, code: str, param: str) -> StripeError:
    return StripeError(402, "card_error", words, code, param)


# -- words ----------------------------------------------------------------------------------------


def amount(minor: int, currency: str) -> str:
    """An amount of minor units as people write it."""
    sign, whole = ("−" if minor < 0 else ""), abs(minor)
    figures = f"{whole:,}"
    if currency not in WITHOUT_CENTS:
        figures = f"{whole // 100:,}.{whole % 100:02}"
    if currency in SYMBOLS:
        return f"{sign}{SYMBOLS[currency]}{figures}"
    return f"{sign}{figures} {currency.upper()}"


def day(instant: int) -> str:
    """A day of UTC, from unix seconds."""
    return f"{datetime.fromtimestamp(instant, UTC):%-d %b %Y}"


def is_address(text: str) -> bool:
    """Whether a link may lead there."""
    return urlsplit(text).scheme in ("http", "https")
