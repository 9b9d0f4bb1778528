"""What the cache of block diffusion is compared with: the same rollout with passes over the whole sequence."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch

from harness.bench.rollouts import decoding_of
from harness.bench.shapes import SHAPES, make_model
from harness.diffusion.sampler import generate
from harness.models.attention import Attention

specification = importlib.util.spec_from_file_location("sampler", Path(__file__).parents[2] / "bench" / "sampler.py")
sampler = importlib.util.module_from_spec(specification)
specification.loader.exec_module(sampler)

SHAPE = dataclasses.replace(SHAPES["tiny"], prompt=16, completion=32, block=8, steps=16, batch=3)


@pytest.fixture
def made():
    return make_model(SHAPE, "cpu", Attention(block_length=SHAPE.block))


def test_whole_passes_give_the_tokens_of_those_with_kept_keys_and_values(made):
    model, prompts = made
    decoding, seeds = decoding_of(SHAPE, 0.9), torch.arange(SHAPE.batch)
    kept = generate(model, prompts, decoding, seeds)
    with sampler.whole_passes(model, SHAPE.prompt + SHAPE.completion):
        whole = generate(model, prompts, decoding, seeds)
    assert torch.equal(whole.completion_ids_BC, kept.completion_ids_BC)
    torch.testing.assert_close(whole.logprob_BC, kept.logprob_BC, atol=1e-5, rtol=0)
    assert whole.flops > kept.flops


@pytest.mark.parametrize("place", [0, 3])
def test_every_block_is_timed_alone(made, place):
    model, _ = made
    decoding = decoding_of(SHAPE, 0.9)
    with sampler.whole_passes(model, SHAPE.prompt + SHAPE.completion):
        assert sampler.block_seconds(model, SHAPE, decoding, "cpu", place) > 0
