"""The border with Stripe: what it tells us, what we ask of it, and whether both books agree."""
