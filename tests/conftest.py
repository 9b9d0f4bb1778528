"""Small models and rollouts shared by the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from transformers import LlamaForCausalLM

from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.tiny import END_ID, MASK_ID, CharacterTokenizer, tiny_config
from harness.records.description import RunDescription, write_description
from harness.records.schema import RunIdentity

# A loaded machine may take long over one example; that is no fault of what is tested.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")


@pytest.fixture
def random_model() -> DiffusionLM:
    """An untrained two-layer model with a character vocabulary; its logits are spread out enough to have no ties."""
    config = tiny_config(hidden=32, layers=2, heads=2, intermediate=48)
    config.initializer_range = 0.3
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = LlamaForCausalLM(config).eval()
    special = SpecialTokens(mask_id=MASK_ID, pad_id=END_ID, end_ids=(END_ID,))
    return DiffusionLM(network, CharacterTokenizer(), special, name="random", compact_prompts=True)


@pytest.fixture
def describe_run() -> Callable[..., None]:
    """Writes the config.yaml of a run on a model, and nothing else."""

    def describe(run: Path, model: dict[str, Any], task: str) -> None:
        names = ("task", "method", "model", "recipe", "reward", "train_data", "test_data", "config_hash")
        identity = RunIdentity(**dict.fromkeys(names, ""), seed=0)
        config = {"model": model, "task": task, "method": {"name": "egspo"}}
        write_description(run, RunDescription(identity=identity, config=config, execution={}, provenance={}))

    return describe
