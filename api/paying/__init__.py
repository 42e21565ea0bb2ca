"""Card payments over HTTP: top-ups, the saved card, refunds, and what Stripe's pages are for."""
