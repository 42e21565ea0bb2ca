"""The tenant: its people, its bots, their deploys and what they store."""
