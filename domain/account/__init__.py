"""Credit accounts: what a workspace has to spend, and every decision to spend it."""
