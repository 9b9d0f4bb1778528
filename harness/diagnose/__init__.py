"""Bias, variance and cost of every method's gradient estimator, on a task small enough to know the exact gradient."""
