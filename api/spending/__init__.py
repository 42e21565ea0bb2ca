"""May a call run, who pays for it, and what the customer switched on."""
