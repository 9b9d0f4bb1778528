"""Masked-diffusion fine-tuning on prompts and answers."""
