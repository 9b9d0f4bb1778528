"""Groups of runs and what their numbers say: intervals, tests, curves, budgets, ablations. Numbers alone."""
