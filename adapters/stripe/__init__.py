"""Stripe: the client, the contract held against its own types, and a sandbox that speaks like it."""
