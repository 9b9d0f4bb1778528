"""Rollout speed: our sampler, the bare forward passes it cannot do without, and a textbook sampler, in one run.

Bare forward: trunk and head on the active block alone, at every step. Textbook: full logits at all positions, float64
Gumbel noise over the vocabulary, loops over rows, a copy of the sequence per step, as published implementations have
it.

    python bench/sampler.py                        d 512, 16 layers, vocabulary 126,464, batch 8, 128 steps
    python bench/sampler.py --shape v32k           the same with vocabulary 32,000; --shape tiny: the embedded model
    python bench/sampler.py --pack-weights         ours with packed weights, the others as they are
    python bench/sampler.py --device cuda --shape llada-8b
    python bench/sampler.py --cache --shape c512 --batch 1 --runs 5
    python bench/sampler.py --block-cache --shape c512 --batch 1 --runs 5
    python bench/sampler.py --graphs --device cuda --shape llada-8b --batch 1 --runs 3
    python bench/sampler.py --graphs --shape c256 --blocks 1 --prompt 64 --runs 3

Times of ours and of the bare forward are whole rollouts, in turn; the textbook runs `--textbook-steps` steps, scaled
up. --cache instead compares key/value caches with the exact sampler: each generates the blocks number `--places` of the
completion, in turn, the tokens before them being given; a rollout is their mean times the number of blocks.
--block-cache compares whole rollouts of a model that attends by blocks with what the same sampler takes where every
pass computes the whole sequence, measured by those blocks. --graphs compares whole rollouts as they are with CUDA
graphs, on a GPU, with compiled layers, and with packed weights, on a CPU, with each cache. On a CPU these times are the
processor's, so that other work on the machine counts less."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from harness.bench.rollouts import bare_passes, decoding_of
from harness.bench.shapes import SHAPES, BenchShape, make_model, peak_memory
from harness.bench.timing import in_turn, timed
from harness.config.decoding import CACHES, Decoding
from harness.config.tree import Execution
from harness.diffusion.sampler import generate
from harness.models.attention import Attention
from harness.models.compiled import compile_layers, speed_up
from harness.models.diffusion_lm import DiffusionLM
from harness.models.key_values import KeyValueCache
from harness.planning.device import matmul_rate, synchronise
from harness.rollout import Prompts


@torch.no_grad()
def textbook(model: DiffusionLM, prompts: Prompts, decoding: Decoding, steps: int) -> None:
    """The first `steps` steps of block 0, written the plain way."""
    rows, prompt_length = prompts.ids_BP.shape
    mask_id = model.special.mask_id
    x = torch.cat([prompts.ids_BP, torch.full((rows, decoding.completion_length), mask_id, device=model.device)], 1)
    trajectory = [x.clone()]
    block_end = prompt_length + decoding.block_length
    reveal = decoding.completion_length // decoding.num_steps
    for _ in range(steps):
        is_mask = x == mask_id
        logits = model.head(model.hidden(x, None))
        noisy = logits.double().exp() / (-torch.rand_like(logits, dtype=torch.float64).log()) ** decoding.temperature
        noisy[:, :, mask_id] = 0
        proposal = noisy.argmax(-1)
        probability = logits.double().softmax(-1)
        entropy = -(probability * (probability + 1e-12).log()).sum(-1)
        confidence = probability.gather(-1, proposal[:, :, None])[:, :, 0]
        confidence[:, block_end:] = -torch.inf
        confidence = torch.where(is_mask, confidence, -torch.inf)
        x = x.clone()
        for row in range(rows):
            for place in confidence[row].topk(reveal).indices.tolist():
                x[row, place] = proposal[row, place]
                float(entropy[row, place])
        trajectory.append(x.clone())


def run(shape: BenchShape, device: str, runs: int, textbook_steps: int, *, pack_weights: bool) -> None:
    """Measures one shape and prints the figures."""
    model, prompts = make_model(shape, device)
    speed_up(model, Execution(pack_weights=pack_weights))
    decoding = decoding_of(shape, 0.9)
    passes = [shape.steps * shape.block // shape.completion] * (shape.completion // shape.block)
    seeds = torch.arange(shape.batch)
    warm = Decoding(**{**vars(decoding), "num_steps": shape.completion // shape.block})
    one_step = generate(model, prompts, warm, seeds)
    ours, bare = [], []
    for _ in range(runs):
        bare.append(timed(lambda: bare_passes(model, prompts, decoding, passes), device))
        ours.append(timed(lambda: generate(model, prompts, decoding, seeds), device))
    mine, forward = statistics.median(ours), statistics.median(bare)
    ratio = statistics.median(b / o for b, o in zip(bare, ours, strict=True))
    rate = shape.batch * shape.completion / mine
    speed = one_step.flops / warm.num_steps * shape.steps / mine
    print(f"{shape.name} on {device}: batch {shape.batch}, {shape.steps} steps, vocabulary {shape.vocabulary:,}")
    print(f"  ours          {mine:9.2f} s  {mine / shape.steps * 1e3:8.1f} ms/step")
    print(f"  bare forward  {forward:9.2f} s  bare / ours = {ratio:.3f} (the bound is 0.85 or more)")
    print(f"  {rate:,.0f} tokens/s, {speed / 1e12:.2f} TFLOP/s = {speed / matmul_rate(device):.1%} of the matrix rate")
    print(f"  peak memory {peak_memory(device):.2f} GiB")
    if textbook_steps:
        plain = timed(lambda: textbook(model, prompts, decoding, textbook_steps), device) / textbook_steps
        print(f"  textbook      {plain * shape.steps:9.2f} s  {plain * 1e3:8.1f} ms/step", end="")
        print(f"  {plain * shape.steps / mine:.1f}x ours")


class BlockIsDoneError(Exception):
    """Ends a rollout after its first block."""


@contextlib.contextmanager
def first_block_alone(model: DiffusionLM, steps: int) -> Iterator[None]:
    """Inside, a rollout ends where it would make more than `steps` passes."""
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1
        if passes > steps:
            raise BlockIsDoneError

    hook = model.predictor.transformer.model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        hook.remove()


def block_seconds(model: DiffusionLM, shape: BenchShape, decoding: Decoding, device: str, place: int) -> float:
    """Seconds of block number `place`; of the processor on a CPU."""
    before = place * shape.block
    rest = dataclasses.replace(
        decoding,
        completion_length=shape.completion - before,
        num_steps=shape.steps * (shape.completion - before) // shape.completion,
    )
    ids_BP = torch.randint(1, shape.vocabulary - 1, (shape.batch, shape.prompt + before), device=device)
    prompts = Prompts(ids_BP=ids_BP, mask_BP=None)
    with first_block_alone(model, shape.steps * shape.block // shape.completion):
        return processor_seconds(lambda: generate(model, prompts, rest, torch.arange(shape.batch)), device)


def processor_seconds(function: Callable[[], object], device: str) -> float:
    """Seconds of one call, of the processor on a CPU."""
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    synchronise(device)
    start = clock()
    with contextlib.suppress(BlockIsDoneError):
        function()
    synchronise(device)
    return clock() - start


def compare_caches(shape: BenchShape, device: str, runs: int, places: list[int]) -> None:
    """Exact, prefix and dual in turn, and prints their ratios."""
    model, _ = make_model(shape, device)
    decoding = Decoding(block_length=shape.block, temperature=0.9, eos_policy="run")
    kinds = {cache: dataclasses.replace(decoding, cache=cache) for cache in CACHES}
    for kind in kinds.values():
        block_seconds(model, shape, kind, device, places[-1])
    seconds: dict[str, list[float]] = {cache: [] for cache in kinds}
    blocks = shape.completion // shape.block
    for _ in range(runs):
        measured = dict.fromkeys(kinds, 0.0)
        for place in places:
            for cache, kind in kinds.items():
                measured[cache] += block_seconds(model, shape, kind, device, place)
        for cache, spent in measured.items():
            seconds[cache].append(spent / len(places) * blocks)
    print(f"{shape.name} on {device}: batch {shape.batch}, prompt {shape.prompt}, {shape.steps} steps, blocks {places}")
    for cache, spent in seconds.items():
        ratio = statistics.median(exact / own for exact, own in zip(seconds["none"], spent, strict=True))
        print(f"  {cache:7s}{statistics.median(spent):9.2f} s  exact / this = {ratio:.2f}", flush=True)


@contextlib.contextmanager
def whole_passes(model: DiffusionLM, length: int) -> Iterator[None]:
    """Inside, a pass over a block computes all `length` columns, and what stores a finished block computes nothing."""
    mask_id, columns = model.special.mask_id, torch.empty(0, 0)

    def whole(tokens_Bq: Tensor, mask_BL: Tensor | None, cache: KeyValueCache) -> tuple[Tensor, int]:
        nonlocal columns
        if not cache.first:
            columns = torch.full((len(tokens_Bq), length), mask_id, device=tokens_Bq.device)
        part = slice(cache.first, cache.first + tokens_Bq.shape[1])
        columns[:, part] = tokens_Bq
        if not (tokens_Bq == mask_id).any():
            return torch.empty(*tokens_Bq.shape, 0), cache.first  # as wide as nothing: no one looks at it
        return model.hidden(columns, None)[:, part], cache.first

    vars(model)["cached_hidden"] = whole
    try:
        yield
    finally:
        del vars(model)["cached_hidden"]


def compare_block_cache(shape: BenchShape, device: str, runs: int, places: list[int]) -> None:
    """Block diffusion with the keys and values of finished blocks and without, in turn, and prints their ratio."""
    model, prompts = make_model(shape, device, Attention(block_length=shape.block))
    decoding = Decoding(
        completion_length=shape.completion,
        block_length=shape.block,
        num_steps=shape.steps,
        temperature=0.9,
        eos_policy="run",
    )
    seeds, blocks = torch.arange(shape.batch), shape.completion // shape.block
    kept, computed = [], []
    for _ in range(runs):
        kept.append(processor_seconds(lambda: generate(model, prompts, decoding, seeds), device))
        with whole_passes(model, shape.prompt + shape.completion):
            spent = sum(block_seconds(model, shape, decoding, device, place) for place in places)
        computed.append(spent / len(places) * blocks)
    ratio = statistics.median(whole / own for whole, own in zip(computed, kept, strict=True))
    print(f"{shape.name} on {device}: batch {shape.batch}, prompt {shape.prompt}, {shape.steps} steps, blocks {places}")
    print(f"  without {statistics.median(computed):9.2f} s")
    print(f"  with    {statistics.median(kept):9.2f} s  without / with = {ratio:.2f}")


def compare_graphs(shape: BenchShape, device: str, runs: int) -> None:
    """Whole rollouts as they are, with CUDA graphs on a GPU, with compiled layers, with packed weights on a CPU, and
    their ratios for each cache; what the first rollouts took longer is their compilation."""
    print(f"{shape.name} on {device}: batch {shape.batch}, prompt {shape.prompt}, {shape.steps} steps")
    models, seeds = {"plain": make_model(shape, device)[0]}, torch.arange(shape.batch)
    if device.startswith("cuda"):
        models["graphs"] = make_model(shape, device)[0]
        models["graphs"].graphs.capture(models["graphs"].predictor, models["graphs"].shape)
    models["compiled"], prompts = make_model(shape, device)
    compile_layers(models["compiled"])
    if device == "cpu":
        models["packed"] = make_model(shape, device)[0]
        models["packed"].packs_weights = True
    for cache in CACHES:
        decoding = dataclasses.replace(decoding_of(shape, temperature=0.9), cache=cache)
        runs_of = {name: functools.partial(generate, model, prompts, decoding, seeds) for name, model in models.items()}
        first = {name: processor_seconds(run, device) for name, run in runs_of.items()}
        tokens = [run().completion_ids_BC for run in runs_of.values()]
        same = [(one_BC == tokens[0]).double().mean().item() for one_BC in tokens]
        seconds = {name: functools.partial(processor_seconds, run, device) for name, run in runs_of.items()}
        taken = in_turn(seconds, runs)
        plain = statistics.median(taken["plain"])
        print(f"  {cache:7s} plain {plain:9.2f} s; the same tokens: {min(same):.2%}")
        for name in list(models)[1:]:
            ratio = statistics.median(one / own for one, own in zip(taken["plain"], taken[name], strict=True))
            own = statistics.median(taken[name])
            print(f"    {name:9s}{own:9.2f} s  {ratio:.2f}x, the first {first[name] - own:.1f} s longer", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="v126k", choices=SHAPES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=1, help="whole rollouts of each, in turn")
    parser.add_argument("--textbook-steps", type=int, default=3, help="0 leaves the textbook out")
    parser.add_argument("--batch", type=int, default=0, help="rows; 0 is the shape's own")
    parser.add_argument("--blocks", type=int, default=0, help="blocks to generate, the rest as prompt; 0 is all")
    parser.add_argument("--cache", action="store_true", help="compare key/value caches with the exact sampler")
    parser.add_argument("--block-cache", action="store_true", help="compare block diffusion with its cache and without")
    parser.add_argument("--prompt", type=int, default=0, help="tokens of the prompts; 0 is the shape's own")
    parser.add_argument("--graphs", action="store_true", help="compare what makes passes faster with plain ones")
    parser.add_argument("--pack-weights", action="store_true", help="ours multiplies by packed weights")
    parser.add_argument("--places", type=int, nargs="+", default=[0, 5, 10, 15], help="with either: blocks")
    chosen = parser.parse_args()
    shape = SHAPES[chosen.shape].with_sizes(batch=chosen.batch, blocks=chosen.blocks)
    if chosen.prompt:
        shape = dataclasses.replace(shape, prompt=chosen.prompt)
    if chosen.cache:
        compare_caches(shape, chosen.device, chosen.runs, chosen.places)
        return
    if chosen.graphs:
        compare_graphs(shape, chosen.device, chosen.runs)
        return
    if chosen.block_cache:
        compare_block_cache(shape, chosen.device, chosen.runs, chosen.places)
        return
    run(shape, chosen.device, chosen.runs, chosen.textbook_steps, pack_weights=chosen.pack_weights)


if __name__ == "__main__":
    main()
