"""Stripe: the client, the contract held against its own types, a sandbox that speaks like it."""
