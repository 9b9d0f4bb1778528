"""What `harness bench` measures: rollouts, updates, grading, start-up and how cost grows, each beside its floor."""
