"""What a workspace has agreed to: its plan, its cycles, changes of both, and unpaid invoices."""
