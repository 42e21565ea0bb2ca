"""The ledger's PostgreSQL: an embedded server, its migrations, and where a ledger lives."""
