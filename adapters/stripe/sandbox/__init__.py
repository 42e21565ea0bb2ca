"""A server of ours that speaks the part of Stripe's HTTP API that Daybook uses."""
