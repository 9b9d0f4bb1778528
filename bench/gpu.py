"""Everything that is worth measuring on one GPU, in one command and in minutes; stops in time with what it has.

    python bench/gpu.py                                     LLaDA-8B's shape, bfloat16, random weights, 8 minutes
    python bench/gpu.py --seconds 240 --out gpu.json        half the time
    python bench/gpu.py --shape tiny --device cpu           what the tests run

In this order: the rate of matrix products; one real `harness run` of two updates, resumed once, on a random checkpoint
in LLaDA's layout; updates of each method beside what the plan predicts; rollouts by batch, length, padding and adapters
(merged or not). It needs torch, transformers, peft, accelerate, safetensors, typer, rich, pyyaml and numpy alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from iteration import METHODS, Job, measure

from harness.bench.checkpoint import save_random_checkpoint
from harness.bench.shapes import SHAPES, BenchShape, make_model
from harness.bench.updates import LORA
from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.models.adapters import merge_adapter
from harness.models.diffusion_lm import DiffusionLM
from harness.planning.device import matmul_rate, synchronise
from harness.planning.memory import Footprint
from harness.planning.weightless import made_up_prompts
from harness.rollout import Prompts

GIB = 2**30
CHECKPOINTS = {"llada-8b": "llada-1b", "tiny": "tiny"}
"""Shapes, and those of the checkpoint that `harness run` is made on."""
BATCHES = (48, 8, 1)
TIMED_STEPS = 4
TOKENS_PER_STEP = 2
UPDATE_ROWS = 8
Row = dict[str, Any]


def real_run(shape: BenchShape, device: str) -> Iterator[Row]:
    """Two updates by `harness run`: one, and one more after the first command has ended."""
    with tempfile.TemporaryDirectory() as place:
        checkpoint = Path(place) / shape.name
        save_random_checkpoint(shape, checkpoint, device)
        settings = {"model.dtype": str(shape.dtype).removeprefix("torch."), "model.lora.rank": 16}
        settings |= {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 8, "execution.device": device}
        command = [sys.executable, "-m", "harness", "run", "--method", "agrpo", "--task", "sudoku", "--recipe", "tiny"]
        command += ["--model", str(checkpoint), "--data", "builtin", "--runs", f"{place}/runs"]
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        for updates in (1, 2):
            start = time.perf_counter()
            subprocess.run([*command, "--budget", f"updates={updates}"], check=True, stdout=subprocess.DEVNULL)
            lines = next(Path(place).glob("runs/*/*/*/*/metrics.jsonl")).read_text().splitlines()
            made = json.loads(lines[-1])["update"]
            assert made == updates == len(lines)
            yield {"command": "start" if updates == 1 else "resume", "updates": made, "s": time.perf_counter() - start}


def updates(shape: BenchShape, device: str) -> Iterator[Row]:
    """An update of every method, without and with activation checkpointing: measured, and what the plan says."""
    small = dataclasses.replace(shape, batch=UPDATE_ROWS, steps=2 * shape.completion // shape.block)
    for method in METHODS:
        for checkpointing in (False, True):
            yield update(small, method, device, checkpointing=checkpointing)


def update(shape: BenchShape, method: str, device: str, *, checkpointing: bool) -> Row:
    """With the largest micro-batch that fits."""
    micro_batch_size = shape.batch
    while True:
        job = Job(
            name=method,
            shape=shape,
            lora_rank=LORA.rank,
            micro_batch_size=micro_batch_size,
            checkpointing=checkpointing,
        )
        try:
            model, prompts = make_model(shape, device)
            add_adapters(model)
            found = measure(job, model, prompts)["update"]
            break
        except torch.OutOfMemoryError:
            if micro_batch_size == 1:
                raise
            micro_batch_size //= 2
        finally:
            model = None
    plan = planned(dataclasses.replace(job, checkpointing=False), device)
    of_update = plan.checkpointed if checkpointing else plan.phases["update"]
    predicted = max(of_update.bytes, plan.phases["step"].bytes)
    return {
        "method": method,
        "checkpointing": checkpointing,
        "micro-batch": micro_batch_size,
        "s": found.seconds,
        "GiB": found.bytes / GIB,
        "predicted GiB": predicted / GIB,
    }


@functools.cache
def planned(job: Job, device: str) -> Footprint:
    """What the plan says, with and without checkpointing: once for both."""
    return job.planned(device)


def rollouts(shape: BenchShape, device: str, rate: float) -> Iterator[Row]:
    """Speed of generation, of a few steps in the first block; tokens/s at two tokens per step."""
    model, _ = make_model(shape, device)
    add_adapters(model)
    for merged in (False, True):
        if merged:
            merge_adapter(model)
        for length in (shape.completion, 2 * shape.completion):
            for batch in BATCHES:
                for padded in (False, True):
                    seconds, flops = few_steps(model, shape, length, batch, padded=padded)
                    yield {
                        "adapters": "merged" if merged else "beside",
                        "C": length,
                        "batch": batch,
                        "padded": padded,
                        "tokens/s": batch * TOKENS_PER_STEP * TIMED_STEPS / seconds,
                        "share of matmul": flops / seconds / rate,
                    }


def few_steps(model: DiffusionLM, shape: BenchShape, length: int, batch: int, *, padded: bool) -> tuple[float, float]:
    """Seconds and FLOPs of TIMED_STEPS steps at the full length: the other blocks are given as prompt."""
    made = made_up_prompts(batch, shape.prompt + length - shape.block, vocabulary=shape.vocabulary)
    ids_BP = made.ids_BP.to(model.device)
    mask_BP = torch.ones_like(ids_BP, dtype=torch.bool)
    mask_BP[:, : shape.prompt // 2] = False
    prompts = Prompts(ids_BP=ids_BP, mask_BP=mask_BP if padded else None)
    decoding = Decoding(
        completion_length=shape.block,
        block_length=shape.block,
        num_steps=TIMED_STEPS,
        temperature=0.9,
        eos_policy="run",
    )
    warm = dataclasses.replace(decoding, num_steps=1)
    generate(model, prompts, warm, torch.arange(batch))
    synchronise(str(model.device))
    start = time.perf_counter()
    rollout = generate(model, prompts, decoding, torch.arange(batch))
    synchronise(str(model.device))
    return time.perf_counter() - start, rollout.flops


def add_adapters(model: DiffusionLM) -> None:
    """LORA, on the model's device."""
    device = model.device
    model.add_lora(LORA, seed=0)
    model.predictor.to(device)


def table(title: str, rows: list[Row]) -> str:
    """Rows as Markdown."""
    lines = [f"\n## {title}\n", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(shape: BenchShape, device: str, seconds: float, out: Path | None) -> None:
    """Measures until everything is done or the time is up, and prints and writes what there is."""
    started = time.monotonic()
    rate = matmul_rate(device)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    found: dict[str, Any] = {"device": name, "shape": shape.name, "matmul FLOP/s": rate, "complete": True}
    print(f"{name}, {shape.name}: matrix products at {rate / 1e12:.3g} TFLOP/s")
    parts = {
        "harness run": real_run(SHAPES[CHECKPOINTS[shape.name]], device),
        "updates": updates(shape, device),
        "rollouts": rollouts(shape, device, rate),
    }
    for title, rows in parts.items():
        found[title] = []
        while time.monotonic() - started < seconds and (row := next(rows, None)) is not None:
            found[title].append(row)
            print(f"{time.monotonic() - started:5.0f} s  {title}: {row}", file=sys.stderr, flush=True)
        if time.monotonic() - started >= seconds:
            found["complete"] = False
        rows.close()
        if found[title]:
            print(table(title, found[title]), flush=True)
        if out:
            out.write_text(json.dumps(found, indent=2) + "\n")
    if not found["complete"]:
        print(f"\nThe {seconds:.0f} seconds were used up; --seconds gives it more.")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="llada-8b", choices=CHECKPOINTS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=450, help="no new measurement starts after so many seconds")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    chosen = parser.parse_args()
    run(SHAPES[chosen.shape], chosen.device, chosen.seconds, chosen.out)


if __name__ == "__main__":
    main()
