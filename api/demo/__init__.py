"""Work for a ledger to do: a small invented business, and traces of real calls."""
