"""Builtin problems for the tiny model, drawn from seeds, in splits that share no problem."""
