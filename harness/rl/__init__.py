"""Reinforcement learning: pure functions of the methods, the method interface, and the only training loop."""
