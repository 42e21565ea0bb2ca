"""Invoices and receipts over HTTP: listed, itemised, and as documents for an archive."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.invoice_pdf import amount, described, pdf, unit_price
from api.contract.invoice_document import printed
from domain.catalogue.catalogue import read_catalogue
from projections.documents import Document, Line
from tests.acceptance.spending import refused
from tests.api.conftest import Served, until
from tests.api.contract.invoicing import END, LINES, PLAN_LINE, START, invoice, mirrored
from tests.projections.stories import differences, dump, rebuilt

INVOICES = "/v1/billing/invoices"


def paid(app: Served, workspace: str, ref: str, usd: str = "20") -> int:
    """A payment that was made elsewhere; its position."""
    body = {"amount_usd": usd, "payment_ref": ref}
    response = app.post("/v1/billing/topup", body, workspace)
    assert response.status_code == 200, response.text
    return int(response.headers["X-Ledger-Position"])


def listed(app: Served, workspace: str, **query: Any) -> Any:
    """A page of invoices, of everything that is committed."""
    return app.get(INVOICES, workspace, min_position=app.position(), **query)


def test_s66_an_invoice_itemises_usage_and_its_lines_add_up(flarex: Served) -> None:
    workspace = flarex.workspace()
    mirrored(flarex.database, invoice(workspace))

    [found] = listed(flarex, workspace)["data"]

    assert (found["id"], found["number"], found["kind"]) == ("in_1", "DB-in_1", "subscription")
    assert (found["status"], found["currency"]) == ("open", "usd")
    assert [line["amount_minor"] for line in found["lines"]] == [4_000, 90, 61, 33]
    assert found["subtotal_minor"] == sum(line["amount_minor"] for line in found["lines"])
    assert (found["total_minor"], found["amount_due_minor"]) == (4_184, 4_184)
    one = found["lines"][1]
    assert (one["kind"], one["bot_id"], one["quantity"]) == ("overage", "b1", 60)
    assert float(one["unit_price_usd"]) == 0.015
    assert one["cycle_id"].startswith("sub_1:2026-06-01")
    assert (one["period_start"], one["period_end"]) == (
        "2026-06-01T00:00:00Z",
        "2026-07-01T00:00:00Z",
    )
    assert flarex.get(f"{INVOICES}/in_1", workspace) == found


def test_an_invoice_goes_through_its_states_and_remembers_failures(flarex: Served) -> None:
    workspace = flarex.workspace()
    draft = invoice(workspace, status="draft", number=None, lines=())
    mirrored(flarex.database, draft)
    [found] = listed(flarex, workspace)["data"]
    assert (found["status"], found["number"], found["lines"]) == ("draft", None, [])

    mirrored(flarex.database, invoice(workspace), failed=2)
    [found] = listed(flarex, workspace)["data"]
    assert found["status"] == "open"
    assert [one["attempt"] for one in found["attempts"]] == [1, 2]
    assert found["first_failed_at"] == "2026-07-02T00:00:00Z"

    done = invoice(workspace, status="paid", amount_paid=4_184, paid_at=END)
    mirrored(flarex.database, done)
    [found] = listed(flarex, workspace)["data"]
    assert (found["status"], found["amount_paid_minor"]) == ("paid", 4_184)
    assert len(found["lines"]) == 4


def test_a_top_up_has_a_receipt_and_a_refund_shows_on_it(app: Served) -> None:
    workspace = app.workspace()
    paid(app, workspace, "wire-77", "20.01")

    [found] = listed(app, workspace)["data"]

    assert (found["kind"], found["status"], found["payment_ref"]) == ("receipt", "paid", "wire-77")
    assert found["number"].startswith("R-")
    assert (found["total_minor"], found["amount_paid_minor"]) == (2_001, 2_001)
    [line] = found["lines"]
    assert (line["kind"], line["amount_minor"]) == ("topup", 2_001)
    assert float(line["unit_price_usd"]) == 20.01
    assert listed(app, workspace, kind="receipt")["data"] == [found]
    assert listed(app, workspace, kind="subscription")["data"] == []


def test_pages_go_from_the_newest_to_the_oldest_and_do_not_shift(app: Served) -> None:
    workspace = app.workspace()
    for number in range(5):
        paid(app, workspace, f"wire-{number}")

    first = listed(app, workspace, limit=2)
    paid(app, workspace, "wire-new")
    second = listed(app, workspace, limit=2, cursor=first["next_cursor"])
    third = listed(app, workspace, limit=2, cursor=second["next_cursor"])

    refs = [one["payment_ref"] for page in (first, second, third) for one in page["data"]]
    assert refs == ["wire-4", "wire-3", "wire-2", "wire-1", "wire-0"]
    assert [page["has_more"] for page in (first, second, third)] == [True, True, False]
    assert third["next_cursor"] is None


def test_invoices_are_the_workspaces_own(flarex: Served) -> None:
    mine, other = flarex.workspace(), flarex.workspace()
    mirrored(flarex.database, invoice(mine))
    listed(flarex, mine)

    for path in (f"{INVOICES}/in_1", f"{INVOICES}/in_1/pdf", f"{INVOICES}/none"):
        refused(flarex.call("GET", path, workspace=other), 404, "not_found")
    assert listed(flarex, other)["data"] == []
    refused(flarex.call("GET", INVOICES, workspace="ws_none"), 404, "not_found")
    for query in ({"status": "lost"}, {"kind": "letter"}, {"limit": 0}, {"cursor": "?"}):
        refused(flarex.call("GET", INVOICES, workspace=mine, **query), 422, "validation_error")
    assert flarex.call("GET", INVOICES, key="dbk_no").status_code == 401


def test_the_pdf_is_a_document_for_an_archive(flarex: Served) -> None:
    workspace = flarex.workspace()
    mirrored(flarex.database, invoice(workspace, status="paid", amount_paid=4_184, paid_at=END))
    listed(flarex, workspace)

    made = flarex.call("GET", f"{INVOICES}/in_1/pdf", workspace=workspace)

    assert made.status_code == 200
    assert made.headers["content-type"] == "application/pdf"
    assert 'filename="subscription-DB-in_1.pdf"' in made.headers["content-disposition"]
    assert made.content.startswith(b"%PDF-1.7")
    assert b"<pdfaid:part>2</pdfaid:part>" in made.content, "PDF/A"
    assert b"<xmpTPg:NPages>1</xmpTPg:NPages>" in made.content
    again = flarex.call("GET", f"{INVOICES}/in_1/pdf", workspace=workspace)
    assert again.content == made.content


def document(lines: tuple[Any, ...] = LINES, **changes: Any) -> tuple[Document, list[Line]]:
    """What the read model would say."""
    stream = UUID(int=1)
    total = sum(line.amount for line in lines)
    row = Document(
        stream,
        "in_1",
        "ws_1",
        "subscription",
        "open",
        "DB-1",
        currency="usd",
        drafted_at=END,
        period_start=START,
        period_end=END,
        subtotal=total,
        tax=800,
        total=total + 800,
        amount_due=total + 800,
        finalized_at=END,
    )._replace(**changes)
    return row, [
        Line(
            stream,
            line.line_id,
            line.kind,
            line.description,
            line.quantity,
            line.unit_amount_micros,
            line.amount,
            line.cycle_id,
            line.bot_id,
            line.plan_id,
            line.plan_version,
            line.period_start,
            line.period_end,
            number,
        )
        for number, line in enumerate(lines)
    ]


CATALOGUE = read_catalogue(
    {
        "catalogue": "shop",
        "currency": "usd",
        "default_plan": "free",
        "meters": {},
        "plans": {"free": {"price_minor": 0}},
        "seller": {
            "name": "Shop Ltd.",
            "address": ["1 High Street", "Sometown"],
            "tax_id": "GB 123",
            "note": "Thank you.",
        },
    }
)


def test_everything_that_finance_asks_for_stands_on_it() -> None:
    on_it = printed(*document(), CATALOGUE, "Acme")

    assert (on_it.title, on_it.number, on_it.stamp) == ("Invoice", "DB-1", None)
    assert (on_it.seller.name, on_it.seller.lines[-1]) == ("Shop Ltd.", "Tax ID GB 123")
    assert (on_it.buyer.name, on_it.buyer.lines) == ("Acme", ("Workspace ws_1",))
    assert ("Period", "1 June 2026 – 1 July 2026") in on_it.facts
    assert ("Date", "1 July 2026") in on_it.facts
    line = on_it.lines[1]
    assert (line.quantity, line.unit_price, line.amount) == ("60", "0.015 USD", "0.90 USD")
    assert line.details[0].startswith("Bot b1 · 1 June 2026 – 1 July 2026 · Cycle sub_1:")
    assert [(total.name, total.amount) for total in on_it.totals] == [
        ("Subtotal", "41.84 USD"),
        ("Tax", "8.00 USD"),
        ("Total", "49.84 USD"),
        ("Amount due", "49.84 USD"),
    ]
    assert on_it.notes == ("Thank you.",)


def test_the_template_shows_every_line_total_and_page() -> None:
    many = (PLAN_LINE, *[msgspec.structs.replace(PLAN_LINE, line_id=f"l{n}") for n in range(80)])
    on_it = printed(*document(many), CATALOGUE, "Acme")

    [found] = described(on_it, "document")
    assert (found["number"], found["lines"]) == ("DB-1", 81)
    assert found["totals"] == list(msgspec.to_builtins(on_it.totals))
    [pages] = described(on_it, "pages")
    assert pages > 2
    assert f"<xmpTPg:NPages>{pages}<".encode() in pdf(on_it)


@pytest.mark.parametrize(
    "name",
    [
        '#panic("run")',
        "*bold* _x_ $y$ [z] @ref <label>",
        "\\ \" ' `",
        "株式会社",
        "🙂",
        "a\tb\u202e",
    ],
)
def test_a_name_is_shown_and_never_run(name: str) -> None:
    on_it = printed(*document(), CATALOGUE, name)

    assert pdf(on_it).startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("minor", "said"),
    [
        (0, "0.00 USD"),
        (5, "0.05 USD"),
        (-123_456, "−1,234.56 USD"),
        (10**11, "1,000,000,000.00 USD"),
    ],
)
def test_amounts_are_written_as_people_do(minor: int, said: str) -> None:
    assert amount(minor, "usd") == said


def test_unit_prices_keep_every_digit() -> None:
    assert unit_price(15_000, "usd") == "0.015 USD"
    assert unit_price(1, "usd") == "0.000001 USD"
    assert unit_price(40_000_000, "usd") == "40.00 USD"
    assert unit_price(None, "usd") == ""


def test_the_read_models_are_the_same_when_they_are_made_anew(app: Served) -> None:
    workspace = app.workspace("5")
    paid(app, workspace, "wire-1")
    mirrored(
        app.database,
        invoice(workspace),
        invoice(workspace, "in_2", status="void", voided_at=END),
        failed=1,
    )
    until(lambda: len(listed(app, workspace)["data"]) == 3)
    names = ("invoices", "payments", "plan_comparison")

    before = dump(app.database, *names)

    assert all(before[table] for table in ("invoices", "invoice_lines", "payments"))
    assert {
        table: rows for table, rows in rebuilt(app.database).items() if table in before
    } == before
    assert differences(app.database) == []
