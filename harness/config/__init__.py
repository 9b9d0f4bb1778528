"""The configuration of a run: what decides its outcome, how it is resolved, where its values come from."""
