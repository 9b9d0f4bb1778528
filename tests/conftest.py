"""Small models and folders of real data shared by the tests.

The folders are outside the repository; what needs one is skipped where it is absent.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names bytes by their number: gzip puts the time into them, and all workers must agree on the names."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture
def processor_time() -> Callable[[], AbstractContextManager[Callable[[], float]]]:
    """`with processor_time() as seconds:` measures, without the garbage that thousands of tests before have left."""
    return _measured


@contextmanager
def _measured() -> Iterator[Callable[[], float]]:
    gc.disable()
    start = time.process_time()
    try:
        yield lambda: time.process_time() - start
    finally:
        gc.enable()


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


def existing_folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, Path(__file__).parents[1].parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no folder '{folder}'; set {variable}")
    return folder


@pytest.fixture
def data_folder() -> Path:
    return existing_folder("HARNESS_DATA", "data")


@pytest.fixture
def golden_folder() -> Path:
    return existing_folder("HARNESS_GOLDEN", "golden")


@pytest.fixture
def cases_folder() -> Path:
    return existing_folder("HARNESS_CASES", "cases")
