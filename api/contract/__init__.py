"""What a workspace agrees to: plans, subscriptions, changes of them, and invoices."""
