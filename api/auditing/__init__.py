"""The facts themselves, every number made again from them, and why a charge was made."""
