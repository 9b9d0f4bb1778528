"""One training iteration of a method, phase by phase: seconds and memory measured, beside what the plan says."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from harness import registry
from harness.bench.shapes import BenchShape
from harness.config.recipe_files import TINY
from harness.config.recipes import load_recipe
from harness.config.resolve import resolve
from harness.config.tree import RunConfig
from harness.diffusion.sampler import generate
from harness.distributed.shard import ALONE
from harness.models.diffusion_lm import DiffusionLM
from harness.models.layouts import LAYOUTS
from harness.models.memory import keep_no_activations
from harness.planning.device import synchronise
from harness.planning.memory import Footprint, Spread, predict
from harness.planning.phases import made_up_rewards
from harness.randomness import stream
from harness.rl.method import Method
from harness.rl.optimizer import adamw
from harness.rl.update import Updater
from harness.rollout import Prompts, ScoredRollouts

METHODS = ("egspo-sa", "egspo", "d1", "agrpo", "espo")
CLEAR_PEAK = "5"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """bytes: the peak above what was there before the phase."""

    seconds: float
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """A method on a shape, as the benchmarks run it: every method with a KL term, so that all have a reference.

    lora_rank: of adapters on q, k, v and up; 0 trains all weights. checkpointing: of activations.
    """

    name: str
    shape: BenchShape
    lora_rank: int
    micro_batch_size: int
    checkpointing: bool = False

    @property
    def config(self) -> RunConfig:
        """The tiny recipe with the sizes of the shape."""
        cls = registry.get_method(self.name)
        shape, options = self.shape, {"method.beta": 0.04}
        rollout = {"completion_length": shape.completion, "block_length": shape.block, "num_steps": shape.steps}
        overrides = {f"rollout.{name}": value for name, value in rollout.items()} | options
        overrides |= {f"evaluation.decoding.{name}": value for name, value in rollout.items()}
        overrides |= {"train.batch_size": shape.batch, "train.group_size": shape.batch // 2}
        overrides |= {"model.name": shape.name, "model.dtype": str(shape.dtype).removeprefix("torch.")}
        overrides |= {"model.lora.rank": self.lora_rank, "model.lora.targets": "official-subset"}
        return resolve(
            method=self.name,
            method_config=cls.Config,
            task="sudoku",
            recipe=TINY,
            layers=load_recipe(TINY, method=self.name, task="sudoku"),
            overrides=overrides,
        ).config

    @property
    def method(self) -> Method:
        """With the options of the configuration."""
        cls = registry.get_method(self.name)
        method: Method = cls(config=cls.Config(**self.config.method.options))
        return method

    def planned(self, device: str) -> Footprint:
        """What the plan says of it."""
        on_gpu = device.startswith("cuda")
        spread = Spread(
            micro_batch_size=self.micro_batch_size,
            evaluation_batch_size=self.shape.batch,
            activation_checkpointing=self.checkpointing,
            on_gpu=on_gpu,
        )
        layout = LAYOUTS[self.shape.layout]
        return predict(
            self.config, self.method, layout, self.shape.config, prompt_length=self.shape.prompt, spread=spread
        )


def measure(job: Job, model: DiffusionLM, prompts: Prompts) -> dict[str, Measured]:
    """A rollout, its preparation, and the second of two updates: the first makes the optimiser's state."""
    config, method, device = job.config, job.method, str(model.device)
    if method.needs_reference:
        model.keep_reference()
    if job.checkpointing:
        keep_no_activations(model.predictor.transformer.model.layers)
    updater = Updater(
        config,
        micro_batch_size=job.micro_batch_size,
        method=method,
        model=model,
        optimizer=adamw(model.network, config.optimizer),
        shard=ALONE,
    )
    needs = method.needs(model.shape, config.rollout, prompts.ids_BP.shape[1])
    rows = torch.arange(len(prompts.ids_BP))
    found: dict[str, Measured] = {}
    generate(model, prompts.rows(slice(1)), config.rollout, rows[:1])  # what libraries load at their first use
    with gauge(device, "rollout", found):
        rollout = generate(model, prompts, config.rollout, rows, needs=needs)
    rewards = made_up_rewards(rows.to(device), rollout.completion_ids_BC)
    scored = ScoredRollouts(rollout=rollout, rewards=rewards, group_size=config.train.group_size)
    with gauge(device, "prepare", found), torch.no_grad():
        draws = method.draw(scored, model, stream(0, "bench"))
        prepared = method.prepare(scored, model, made_up_rewards, draws)
    for update in (prepared.updates[0], prepared.updates[-1]):
        with gauge(device, "update", found):
            updater.update(update, 0, config.optimizer.learning_rate)
    return found


@contextmanager
def gauge(device: str, name: str, found: dict[str, Measured]) -> Iterator[None]:
    """Measures what happens inside: the GPU's allocator, or the resident set of this process."""
    gc.collect()
    before = _reset(device)
    start = time.perf_counter()
    yield
    synchronise(device)
    found[name] = Measured(seconds=time.perf_counter() - start, bytes=_peak(device) - before)


def _reset(device: str) -> int:
    """Sets the peak to the present size, and returns that; bytes."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text(CLEAR_PEAK)
    return _status("VmRSS")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
