"""What Daybook can do on this machine, beside the least that PostgreSQL can do it for."""
