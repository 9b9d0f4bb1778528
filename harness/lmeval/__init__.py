"""What the lm-eval model type and the lm-eval tasks are made of. `harness.lm_eval_model` puts it together."""
