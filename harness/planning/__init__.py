"""What a run will need, found out beforehand: memory, compute, time."""
