"""What touches the world: PostgreSQL, Stripe, price lists, catalogues, settings."""
