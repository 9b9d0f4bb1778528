"""Update speed and memory: an EGSPO-SA update of ours beside a textbook one, each in a process of its own.

Ours: a slot per backward pass, states rebuilt from (completion, unmask_step), logits at the revealed positions alone,
micro-batches. Textbook: one row and one step at a time, full logits and log-softmax at all positions. Both make the
same gradients; the difference of their norms is printed.

    python bench/update.py                     d 512, 16 layers, vocabulary 126,464, batch 8, K = 2, LoRA as published
    python bench/update.py --lora-rank 0       the same, training all weights
    python bench/update.py --device cuda --shape llada-8b

Memory is the peak above what the weights and their gradients take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from harness.bench.shapes import SHAPES, BenchShape, make_model
from harness.bench.updates import prepare
from harness.bench.updates import update as ours
from harness.config.tree import LoraConfig
from harness.models.diffusion_lm import DiffusionLM
from harness.planning.device import synchronise
from harness.rl.method import Method, Prepared

MIB = 2**20


def textbook(method: Method, model: DiffusionLM, prepared: Prepared) -> None:
    """The same loss, one row and one step at a time, with full logits."""
    config = method.config
    for update in prepared.updates:
        for slot in update.parts:
            for row in range(len(slot.tokens_BL)):
                logits_LV = model.head(model.hidden(slot.tokens_BL[row : row + 1], None))[0]
                logprob_LV = logits_LV.log_softmax(-1)
                new = logprob_LV[slot.position_Bn[row], slot.target_Bn[row]].sum()
                ratio = (new - slot.old_logprob_B[row]).exp()
                clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
                advantage = slot.advantage_B[row]
                (-torch.minimum(ratio * advantage, clipped * advantage) / slot.normaliser).backward()


def measure(shape: BenchShape, variant: str, chosen: argparse.Namespace) -> dict[str, float]:
    """Seconds, peak MiB above weights and gradients, and the gradient's norm."""
    device = chosen.device
    model, prompts = make_model(shape, device)
    if chosen.lora_rank:
        model.add_lora(LoraConfig(rank=chosen.lora_rank, targets="official-subset"), seed=0)
        model.predictor.to(device)
    method, prepared = prepare(shape, model, prompts, chosen.slots)
    trained = [weight for weight in model.predictor.parameters() if weight.requires_grad]
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    base = _resident(device)
    synchronise(device)
    start = time.perf_counter()
    if variant == "ours":
        ours(method, model, prepared, chosen.micro_batch)
    else:
        textbook(method, model, prepared)
    synchronise(device)
    seconds = time.perf_counter() - start
    norms = [weight.grad.float().norm() for weight in trained if weight.grad is not None]
    return {"seconds": seconds, "mib": _peak(device) - base, "norm": float(torch.stack(norms).norm())}


def _resident(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / MIB
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize() / MIB


def _peak(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Command line; starts itself once per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="v126k", choices=SHAPES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--slots", type=int, default=2, help="K: chosen steps per row")
    parser.add_argument("--micro-batch", type=int, default=1)
    parser.add_argument("--lora-rank", type=int, default=128, help="adapters on q, k, v and up; 0 trains all weights")
    parser.add_argument("--variant", choices=("both", "ours", "textbook"), default="both")
    chosen = parser.parse_args()
    shape = SHAPES[chosen.shape].with_sizes(batch=chosen.batch)
    if chosen.variant != "both":
        print(json.dumps(measure(shape, chosen.variant, chosen)))
        return
    found = {}
    for variant in ("textbook", "ours"):
        command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
        found[variant] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{variant:9} {found[variant]['seconds']:8.2f} s  peak {found[variant]['mib']:8.0f} MiB", end="")
        print(f"  gradient norm {found[variant]['norm']:.6g}")
    plain, mine = found["textbook"], found["ours"]
    print(
        f"ours is {plain['seconds'] / mine['seconds']:.1f}x faster with {plain['mib'] / mine['mib']:.1f}x less memory"
    )


if __name__ == "__main__":
    main()
