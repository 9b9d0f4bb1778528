"""Small models and folders of real data shared by the tests.

The folders are outside the repository; what needs one is skipped where it is absent. Nothing heavy is imported
before it is needed: the process that deals out the tests needs none of it.
"""

from __future__ import annotations

import functools
import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from .forks import Forks

if TYPE_CHECKING:
    from harness.models.diffusion_lm import DiffusionLM

# A loaded machine may take long over one example; that is no fault of what is tested.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names bytes by their number: gzip puts the time into them, and all workers must agree on the names."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


MEMORY = "/dev/shm"
"""A file system in memory: on a disk thousands of small files take tests long to make, to sync and to remove."""
ROOM = 2 << 30
"""Bytes; tests that pass leave nothing there."""


def pytest_configure() -> None:
    """Puts the folders of the tests into memory where that has room for them and lets programs run."""
    if os.access(MEMORY, os.W_OK):
        found = os.statvfs(MEMORY)
        if found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Lets the garbage collector leave alone what is imported, which stays to the end: it would go through all of it
    again and again."""
    gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Has it look after what comes later."""
    gc.collect()
    gc.freeze()
    gc.enable()


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
    import torch
    from transformers import LlamaForCausalLM

    from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
    from harness.models.tiny import END_ID, MASK_ID, CharacterTokenizer, tiny_config

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
    from harness.records.description import RunDescription, write_description
    from harness.records.schema import RunIdentity

    def describe(run: Path, model: dict[str, Any], task: str) -> None:
        names = ("task", "method", "model", "recipe", "reward", "train_data", "test_data", "config_hash")
        identity = RunIdentity(**dict.fromkeys(names, ""), seed=0)
        config = {"model": model, "task": task, "method": {"name": "egspo"}}
        write_description(run, RunDescription(identity=identity, config=config, execution={}, provenance={}))

    return describe


@pytest.fixture(scope="session")
def indexed() -> Callable[[tuple[Path, ...]], Any]:
    """lm-eval's index of the tasks in folders, made once."""
    from lm_eval.tasks._index import TaskIndex

    build = TaskIndex.build
    return functools.cache(lambda folders: build(folders))


@pytest.fixture
def tasks_indexed_once(indexed: Callable[[tuple[Path, ...]], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's command line does not read its fourteen thousand tasks for every evaluation of the tests."""
    from lm_eval.tasks._index import TaskIndex

    monkeypatch.setattr(TaskIndex, "build", staticmethod(lambda folders: indexed(tuple(folders))))


@pytest.fixture(scope="session")
def forks_around() -> Iterator[Callable[[Sequence[str]], Forks]]:
    """Starts Python processes that cost no start of Python, in a command like bwrap's."""
    with ExitStack() as started:

        def start(around: Sequence[str]) -> Forks:
            forks = Forks(around)
            started.callback(forks.close)
            return forks

        yield start


@pytest.fixture(scope="session")
def forks(forks_around: Callable[[Sequence[str]], Forks]) -> Forks:
    """Starts Python processes that cost no start of Python."""
    return forks_around(())


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
