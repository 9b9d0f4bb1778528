"""What is written about a run, under which names, and how it is read back. No torch."""
