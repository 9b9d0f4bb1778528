from __future__ import annotations

import warnings

from harness.config.tree import LoraConfig
from harness.models.tiny import fresh_tiny


def test_adapters_are_put_on_without_a_warning_that_no_user_can_act_on() -> None:
    model = fresh_tiny(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.add_lora(LoraConfig(rank=2), seed=0)
    assert set(model.lora_ranks.values()) == {2}
