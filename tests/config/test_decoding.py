"""Decodings: which of them are approximate, and what their exact counterpart is."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config.decoding import Decoding
from harness.errors import UserError

EXACT = Decoding(completion_length=16, block_length=4, num_steps=8, temperature=0.5)


@pytest.mark.parametrize(
    "change",
    [{"cache": "dual"}, {"cache": "prefix", "threshold": 0.9}, {"factor": 2.0}, {"entropy_bound": 1.0}],
    ids=str,
)
def test_without_cache_and_rules_a_decoding_is_exact_and_has_the_record_of_one(
    change: dict[str, Any],
) -> None:
    approximate = Decoding(**{**vars(EXACT), **change})
    assert approximate.is_approximate
    assert not EXACT.is_approximate
    assert approximate.exact == EXACT
    assert approximate.exact.to_record() == EXACT.to_record()


def test_dreams_schedule_has_no_blocks_without_a_cache() -> None:
    cached = Decoding(completion_length=16, block_length=4, num_steps=8, schedule="dream", cache="dual")
    cached.check("rollout")
    assert cached.exact.block_length == 16
    cached.exact.check("rollout")


def test_more_steps_than_tokens_go_with_the_schedules_that_know_steps_without_a_token_alone() -> None:
    Decoding(completion_length=16, block_length=8, num_steps=64, schedule="dllm").check("rollout")
    Decoding(completion_length=16, block_length=16, num_steps=64, schedule="dream").check("rollout")
    with pytest.raises(UserError, match=r"num_steps=64 must lie between the number of blocks \(2\)"):
        Decoding(completion_length=16, block_length=8, num_steps=64).check("rollout")
