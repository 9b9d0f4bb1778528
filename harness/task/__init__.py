"""What a task is, and what a model is asked. No torch."""
