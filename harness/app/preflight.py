"""What a planned run will take, before anything of it is loaded: data, memory, compute, time, disk."""

from __future__ import annotations

import functools
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.app.plan import PlannedRun
from harness.app.ready import load_data
from harness.config.keep import parse_keep
from harness.config.together import check_processes
from harness.config.tree import RunConfig
from harness.errors import UserError
from harness.records.jsonl import read_lines
from harness.records.run_folder import METRICS_FILE

if TYPE_CHECKING:
    from harness.models.diffusion_lm import Tokenizer
    from harness.planning.budget import Rate, RunCost
    from harness.planning.memory import Footprint, Spread
    from harness.planning.sizes import Sizes
    from harness.rl.evaluator import Data
    from harness.task.base import Example

ASSUMED_PROMPT = 256
"""Tokens, where neither the data and a tokenizer nor train.max_prompt_length say it."""
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Device:
    """memory: bytes. is_gpu: whether it is one, here or as stated."""

    name: str
    memory: int
    is_gpu: bool


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes: of one checkpoint, of all that lie there at once, and free where the run folder will be."""

    checkpoint: int
    needed: int
    free: int


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """data: what was found, or what is missing. prompt: tokens of the longest prompt, and how they are known.

    changes: settings that make it fit together, one after another, and `relieved`, bytes with them; none where it fits,
    or where nothing was found.
    """

    planned: PlannedRun
    sizes: Sizes
    spread: Spread
    device: Device
    data: str
    prompt: tuple[int, str]
    footprint: Footprint
    cost: RunCost
    rate: Rate
    disk: Disk
    changes: Sequence[str] = ()
    relieved: int = 0

    @property
    def fits(self) -> bool:
        """Whether the device's memory suffices."""
        return self.footprint.total <= self.device.memory

    @property
    def verdict(self) -> str:
        """One sentence on whether it fits, and what would make it fit."""
        has = f"the {self.device.name} has {self.device.memory / GIB:.1f} GiB"
        needs = f"{self.footprint.total / GIB:.1f} GiB per device"
        if self.fits:
            return f"It fits: it takes {needs}, and {has}."
        if not self.changes:
            return f"It does not fit: it takes {needs}, but {has}, and no setting was found that makes it fit."
        settings = " ".join(f"--set {change}" for change in self.changes)
        return f"It does not fit: it takes {needs}, but {has}. With {settings} it takes {self.relieved / GIB:.1f} GiB."


def preflight(
    planned: PlannedRun,
    *,
    devices: int = 1,
    memory_gib: float = 0.0,
    tflops: float = 0.0,
) -> Preflight:
    """Looks at a planned run. Nothing is trained, and no weights are loaded.

    memory_gib: of a GPU that is not here. tflops: the rate of a device, 1e12 FLOP/s; by default that of an earlier run
    of the same model and method, or of matrix products on this machine's device. Raises UserError for an unknown model
    or device, rows that the devices cannot share, and a method or decoding that the model's blocks do not go with.
    """
    from harness.planning.budget import run_cost
    from harness.planning.memory import Spread, predict
    from harness.planning.sizes import sizes_of

    config, execution = planned.resolved.config, planned.resolved.execution
    check_processes(config, execution, devices)
    device = _device(execution.device, memory_gib)
    spread = Spread(
        devices=devices,
        sharding=execution.sharding if devices > 1 else "none",
        activation_checkpointing=execution.activation_checkpointing,
        merge_adapters=execution.merge_adapters,
        pack_weights=execution.pack_weights,
        micro_batch_size=execution.micro_batch_size,
        rollout_batch_size=execution.rollout_batch_size,
        evaluation_batch_size=execution.evaluation_batch_size,
        on_gpu=device.is_gpu,
    )
    sizes = sizes_of(config.model.name)
    found, said = _data(planned)
    prompt = _prompt(planned, sizes, found)

    def predicted(config: RunConfig, spread: Spread) -> Footprint:
        of_model = functools.partial(predict, layout=sizes.layout, shape=sizes.config, attention=sizes.attention)
        return of_model(config, planned.method, prompt_length=prompt[0], spread=spread)

    footprint = predicted(config, spread)
    rate = _rate(planned, device, tflops)
    updates_per_step = planned.method.updates_per_step
    cost = run_cost(config, footprint, rate, updates_per_step=updates_per_step, devices=devices)
    result = Preflight(
        planned=planned,
        sizes=sizes,
        spread=spread,
        device=device,
        data=said,
        prompt=prompt,
        footprint=footprint,
        cost=cost,
        rate=rate,
        disk=_disk(planned, footprint, cost),
    )
    return result if result.fits else _relieved(result, predicted)


def _relieved(result: Preflight, predicted: Callable[..., Footprint]) -> Preflight:
    """The same with the settings that make it fit, where there are some."""
    from harness.planning.relief import next_change

    config, spread, footprint = result.planned.resolved.config, result.spread, result.footprint
    changes: dict[str, str] = {}
    while footprint.total > result.device.memory:
        change = next_change(config, spread, footprint, result.device.memory)
        if change is None:
            return result
        config, spread = change.config, change.spread
        changes[change.setting.partition("=")[0]] = change.setting
        footprint = predicted(config, spread)
    return replace(result, changes=tuple(changes.values()), relieved=footprint.total)


def _device(name: str, memory_gib: float) -> Device:
    import torch

    from harness.models.checkpoints import resolve_device
    from harness.planning.device import device_memory

    if memory_gib:
        return Device(name="device as stated", memory=round(memory_gib * GIB), is_gpu=name != "cpu")
    place = resolve_device(name)
    is_gpu = place.type == "cuda"
    return Device(
        name=torch.cuda.get_device_name(place) if is_gpu else "CPU", memory=device_memory(place), is_gpu=is_gpu
    )


def _data(planned: PlannedRun) -> tuple[Data | None, str]:
    """The examples, None where some are missing, and what is said of them."""
    try:
        data = load_data(planned)
    except UserError as error:
        return None, f"missing: {error}"
    validation = f", {len(data.validation):,} validation items" if data.validation else ""
    train, test = planned.train_source.label, planned.test_source.label
    items = f"{len(data.evaluation):,} evaluation items ({test}){validation}"
    return data, f"{len(data.train):,} training examples ({train}), {items}"


def _prompt(planned: PlannedRun, sizes: Sizes, data: Data | None) -> tuple[int, str]:
    """Tokens of the longest training prompt, as rollouts see it."""
    from harness.models.tokenizers import TOKENIZER_JSON, load_tokenizer

    config = planned.resolved.config
    most = config.train.max_prompt_length
    reads_characters = sizes.folder is None or not (sizes.folder / TOKENIZER_JSON).is_file()
    if data is not None and sizes.compact_prompts and reads_characters:
        longest = max(len(planned.task.compact_prompt(example)) for example in data.train)
    elif data is not None and sizes.folder is not None:
        options, rows = sizes.layout.template_options, sizes.config.vocab_size
        tokenizer = load_tokenizer(sizes.folder, config.model.name, vocabulary=rows, template_options=options)
        longest = max(_tokens(planned, tokenizer, example, compact=sizes.compact_prompts) for example in data.train)
    elif most:
        return most, "train.max_prompt_length"
    else:
        return ASSUMED_PROMPT, "assumed: the model's tokenizer or the data is not here"
    return min(longest, most or longest), "the longest training prompt"


def _tokens(planned: PlannedRun, tokenizer: Tokenizer, example: Example, *, compact: bool) -> int:
    from harness.models.diffusion_lm import apply_chat_template
    from harness.task.messages import split_prefill

    if compact:
        return len(tokenizer.encode(planned.task.compact_prompt(example)))
    asked, prefill = split_prefill(planned.task.messages(example))
    return len(tokenizer.encode(apply_chat_template(tokenizer, asked, planned.identity.model) + prefill))


def _rate(planned: PlannedRun, device: Device, tflops: float) -> Rate:
    """The stated rate, that of the newest earlier run of the model and method, or that of matrix products here."""
    import torch

    from harness.planning.budget import TRAINING, Rate
    from harness.planning.device import matmul_rate

    phases = (*TRAINING, "evaluation")
    if tflops:
        return Rate(by_phase=dict.fromkeys(phases, tflops * 1e12), source="as stated")
    for metrics in sorted(planned.folder.parent.glob(f"*/{METRICS_FILE}*"), key=_written, reverse=True):
        last = next(iter(deque(read_lines(metrics), maxlen=1)), None)
        if last:
            seconds, updating = last["seconds"], last["flops_update"] / last["seconds"]["update"]
            generating = last["flops_rollout"] / (seconds["rollout"] + seconds["prepare"])
            rates = {**dict.fromkeys(phases, generating), "update": updating}
            return Rate(by_phase=rates, source=f"measured by {metrics.parent.name}, on the device that it ran on")
    is_here = not device.is_gpu or torch.cuda.is_available()
    rate = matmul_rate("cuda" if device.is_gpu and is_here else "cpu")
    meaning = "hours are a lower bound" if is_here else "state the GPU's with --rate for its hours"
    return Rate(by_phase=dict.fromkeys(phases, rate), source=f"matrix products on this machine: {meaning}")


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _disk(planned: PlannedRun, footprint: Footprint, cost: RunCost) -> Disk:
    """Checkpoints hold the trainable weights and two moments of each; a new one is written beside those that stay."""
    execution = planned.resolved.execution
    one = 3 * footprint.trainable_bytes
    saved = [*range(execution.checkpoint_every, cost.rollouts, execution.checkpoint_every), cost.rollouts]
    steps = [rollout * footprint.updates // planned.method.updates_per_step for rollout in saved]
    staying = len(parse_keep(execution.keep).chosen(steps, best=steps[0]))
    place = next(folder for folder in (planned.folder, *planned.folder.absolute().parents) if folder.is_dir())
    return Disk(checkpoint=one, needed=one * (staying + 1), free=shutil.disk_usage(place).free)
