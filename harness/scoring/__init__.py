"""Reading answers out of model text and judging them. No torch."""
