"""Where examples come from: built-in problems, folders, the Hugging Face hub. No torch."""
