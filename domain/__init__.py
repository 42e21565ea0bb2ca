"""What is true: values, aggregates, decisions, refusals and use cases. No I/O, clock or chance."""
