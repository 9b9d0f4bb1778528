"""Memory of training as the plan predicts it, beside the peak of the resident set, each measurement in a process of
its own.

    python bench/memory.py                        all methods at both shapes with vocabulary 126,464: minutes
    python bench/memory.py --method espo --shape dream-192

Both are bytes above what is there before the phase: weights, reference and optimiser. Memory is given back
to the system at once (MALLOC_MMAP_THRESHOLD_), so that the resident set is what tensors take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict

from iteration import METHODS, Job, measure

from harness.bench.shapes import SHAPES, make_model
from harness.config.tree import LoraConfig

MIB = 2**20
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
CASES = {"llada-256": 32, "dream-192": 0}
"""Shapes, and the rank of their adapters; 0 trains all weights."""


def job(method: str, shape: str) -> Job:
    """A case of the table."""
    return Job(name=method, shape=SHAPES[shape], lora_rank=CASES[shape], micro_batch_size=2)


def run(one: Job) -> None:
    """Measures, and prints JSON."""
    model, prompts = make_model(one.shape, "cpu")
    if one.lora_rank:
        model.add_lora(LoraConfig(rank=one.lora_rank, targets="official-subset"), seed=0)
    print(json.dumps({name: asdict(found) for name, found in measure(one, model, prompts).items()}))


def main() -> None:
    """Command line; starts itself once per method and shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=CASES)
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        run(job(chosen.method, chosen.shape))
        return
    print("| shape | method | phase | predicted, MiB | measured, MiB | predicted / measured |")
    print("|---|---|---|---|---|---|")
    for shape in [chosen.shape] if chosen.shape else CASES:
        for method in [chosen.method] if chosen.method else METHODS:
            planned = job(method, shape).planned("cpu").phases
            command = [sys.executable, __file__, "--measure", "--shape", shape, "--method", method]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **MALLOC})
            for phase, found in json.loads(done.stdout).items():
                update = max(planned["update"].bytes, planned["step"].bytes)
                predicted = (update if phase == "update" else planned[phase].bytes) / MIB
                measured = found["bytes"] / MIB
                print(f"| {shape} | {method} | {phase} | {predicted:,.0f} | {measured:,.0f} | ", end="")
                print(f"{predicted / measured:.2f} |" if measured >= 1 else "none |", flush=True)


if __name__ == "__main__":
    main()
