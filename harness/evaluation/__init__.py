"""Completions and likelihoods of a model, judged."""
