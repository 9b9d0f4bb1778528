"""What papers publish, as checked records: protocols, prompts, checkpoints, claims, tables and figures. No torch."""
