"""What the lm-eval model type and the lm-eval tasks are made of. `harness.lmeval.model` puts it together."""
