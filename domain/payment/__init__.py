"""Money that comes in and goes back by card: attempts, refunds, disputes."""
