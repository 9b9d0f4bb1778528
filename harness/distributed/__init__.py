"""Processes that share the work."""
