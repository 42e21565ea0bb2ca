"""Invoices: mirrors of Stripe's, and our overage on them."""
