"""Evaluates what four methods trained with a half and a quarter of the steps: `fewer_steps.py RUNS --out DIR`."""

import argparse
from pathlib import Path

import harness

METHODS = ("agrpo", "d1", "egspo-sa", "espo")
BY_RECIPE = {
    "reward": "task",
    "model": "tiny",
    "model.lora.rank": 0,
    "method.draws": "low-discrepancy",
    "method.importance": "entropy",
    "method.stepping": "accumulate",
}
"""Values of runs that change nothing of their recipes, where they have them."""
PARTS = (2, 4)
"""Of the steps; one that leaves blocks without a step is left out."""
DECODING = ("completion_length", "block_length", "num_steps")


def main() -> None:
    """Of each run, those of variants and controls left out, the last checkpoint on its own test items."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("runs", type=Path)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    runs = harness.read_runs(given.runs).runs
    runs = runs[runs["method"].isin(METHODS)]
    for key, value in BY_RECIPE.items():
        runs = runs[runs[key].isna() | (runs[key] == value)]
    for run in runs.to_dict("records"):
        length, block, steps = (int(run[f"evaluation.decoding.{name}"]) for name in DECODING)
        for fewer in (steps // part for part in PARTS if steps // part >= length // block):
            harness.evaluate(
                run["folder"],
                run["task"],
                items=int(run["evaluation.items"]),
                decoding={"num_steps": fewer},
                out=given.out,
            )
        print(run["folder"])


if __name__ == "__main__":
    main()
