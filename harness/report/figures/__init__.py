"""The report's figures, one kind per file: from points to pictures, and nothing else."""
