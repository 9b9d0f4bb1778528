"""Generation by iterative unmasking: schedule, remasking rules, exact sampling, and the one sampler."""
