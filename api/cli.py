"""The command line: `daybook`. Each command is in `api/commands`."""

import typer

from api.commands import (
    audit,
    catalogue,
    explaining,
    importing,
    keys,
    ledgers,
    prices,
    reconciling,
    serving,
    verifying,
)

app = typer.Typer(
    help="An event-sourced billing ledger for AI products, on PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Usage errors as plain lines too.
)
app.command("serve")(serving.serve)
app.add_typer(keys.app, name="keys")
app.command("workspaces")(ledgers.workspaces)
app.command("balance")(ledgers.balance)
app.command("import")(importing.import_)
app.add_typer(prices.app, name="prices")
app.add_typer(catalogue.app, name="catalogue")
app.command("replay")(audit.replay)
app.command("explain")(explaining.explain)
app.command("compare")(audit.compare)
app.command("verify")(verifying.verify)
app.command("rebuild")(audit.rebuild)
app.command("reconcile")(reconciling.reconcile)

if __name__ == "__main__":
    app()
