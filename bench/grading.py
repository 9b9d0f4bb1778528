"""Grading programs beside generation, and after it: the tiny model on its MBPP, both in turn, in one run.

    python bench/grading.py [--items 192] [--batch 16] [--runs 5]

Both complete the same items with the same seeds and have to find the same scores. The times are wall times, for
waiting is what they differ in; quote the ratio, from a machine with processors to spare.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from harness import registry
from harness.app.models import load_model
from harness.config.decoding import Decoding
from harness.config.recipes import evaluation_decoding
from harness.data.sources import parse_source
from harness.evaluation.beside import Scoring
from harness.evaluation.completions import complete
from harness.models.diffusion_lm import DiffusionLM
from harness.task.base import Example, Score, Task, TaskOptions


def graded(
    model: DiffusionLM, task: Task, examples: Sequence[Example], decoding: Decoding, batch: int, *, beside: bool
) -> tuple[float, float, dict[int, Score]]:
    """Seconds of generation and of all, and the scores."""
    vars(task)["scores_elsewhere"] = beside
    prompts = [model.prompt_text(task, example) for example in examples]
    start = time.perf_counter()
    with Scoring[int, Score](task, task.score) as scoring:
        for done in complete(model, examples, prompts, decoding, batch_size=batch):
            scoring.add((index, examples[index], completion.text) for index, completion in done)
        generated = time.perf_counter() - start
        scores = scoring.results()
    return generated, time.perf_counter() - start, scores


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=192)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    task = registry.get_task("mbpp")(TaskOptions(bare_answers=True))
    task.prepare()
    examples = task.examples("test", parse_source("builtin"))[: chosen.items]
    model, decoding = load_model("tiny", task="mbpp"), evaluation_decoding("mbpp", tiny=True)
    graded(model, task, examples[: chosen.batch], decoding, chosen.batch, beside=True)
    ratios = []
    for _ in range(chosen.runs):
        alone, after, expected = graded(model, task, examples, decoding, chosen.batch, beside=False)
        generated, beside, found = graded(model, task, examples, decoding, chosen.batch, beside=True)
        assert found == expected
        ratios.append(after / beside)
        print(
            f"  after {after:6.2f} s ({alone:.2f} s of generation), beside {beside:6.2f} s ({generated:.2f} s)",
            flush=True,
        )
    print(f"{len(examples)} items, batch {chosen.batch}: after / beside = {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
