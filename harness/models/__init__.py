"""Masked diffusion language models behind one interface, `DiffusionLM`."""
