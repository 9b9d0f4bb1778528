"""Every registered method with options that make its updates small; one that is not named here has its defaults."""

from __future__ import annotations

from typing import Any

from harness.registry import get_method, names
from harness.rl.method import Method

OPTIONS: dict[str, dict[str, Any]] = {
    "agrpo": {"mc_samples": 3, "importance": "entropy", "beta": 0.1},
    "bgpo": {"inner_updates": 2, "mc_samples": 4, "run_length": 2, "response": "until_end"},
    "coupled-grpo": {"inner_updates": 2, "beta": 0.1},
    "d1": {"inner_updates": 2, "p_mask_prompt": 0.4, "beta": 0.1},
    "d2-stepmerge": {"segments": 3, "inner_updates": 2, "p_mask_prompt": 0.4, "beta": 0.1},
    "dmpo": {"inner_updates": 2, "replicates": 2, "elbo_samples": 2, "alpha": 0.5},
    "egspo": {"num_selected": 3, "slots_per_update": 3},
    "egspo-sa": {"num_selected": 2, "baseline": "step"},
    "espo": {"inner_updates": 2, "mc_samples": 2, "beta": 0.1},
    "gdpo": {"inner_updates": 2, "mc_samples": 2, "p_mask_prompt": 0.4},
    "gdsd": {"inner_updates": 2, "mc_samples": 2, "tlc": True, "epsilon": 0.2, "beta": 0.1},
    "justgrpo": {"old": "recomputed", "inner_updates": 2},
    "spg": {"inner_updates": 2, "num_t": 2, "p_mask_prompt": 0.4},
    "tracerl": {"shrink": 2, "post_num": 1, "updates": 2, "beta": 0.1},
    "wd1": {"inner_updates": 2, "p_mask_prompt": 0.4},
}
NAMES = names("method")


def small_method(name: str) -> Method:
    """The method with its small options."""
    cls = get_method(name)
    return cls(config=cls.Config(**OPTIONS.get(name, {})))
