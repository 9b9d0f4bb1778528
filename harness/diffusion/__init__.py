"""Generation by iterative unmasking: schedules, remasking rules, exact sampling, and the samplers."""
