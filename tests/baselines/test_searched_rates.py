"""The `tiny` recipes have the learning rates that an equal search chose on validation items."""

from collections import defaultdict
from pathlib import Path

import pytest

import harness
from harness import registry
from harness.app.plan import RunRequest, plan

STUDY = Path(__file__).parents[2] / "results" / "study"
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
SOME = ("agrpo", "d1", "egspo", "egspo-sa", "espo", "gdpo", "tracerl")
SEARCHED = {
    **dict.fromkeys(("sudoku", "countdown"), registry.names("method")),
    **dict.fromkeys(("gsm8k", "math500", "mbpp"), SOME),
}
"""Task to methods."""
SEEDS = {"sudoku": (100, 101), "countdown": (100, 101)}
ONE_SEED = (100,)
ALL_ITEMS_OF_PROGRAMS = {"evaluation.items": 128}

pytestmark = pytest.mark.slow


def tries(task):
    """The runs of the methods by their recipes: method to rate to seed to value."""
    frames = harness.read_runs(STUDY / f"search-{task}.tar.xz")
    runs = frames.runs[(frames.runs["model.lora.rank"] == 0) & (frames.runs["config_hash"].isin(plain(task)))]
    ends = frames.evaluations[frames.evaluations["checkpoint"] == "last"]
    ends = ends[ends["metric"].isin(("exact_match", "accuracy", "pass@1"))]
    assert set(ends["split"]) == {"validation"}
    values = dict(zip(ends["folder"], ends["value"], strict=True))
    found = defaultdict(lambda: defaultdict(dict))
    for one in runs.to_dict("records"):
        found[one["method"]][one["optimizer.learning_rate"]][one["seed"]] = values[one["folder"]]
    return found


def plain(task):
    """The hashes of the searched configurations that change nothing but the rate."""
    changes = {"evaluation.split": "validation", "evaluation.every": 0}
    if task == "mbpp":
        changes |= ALL_ITEMS_OF_PROGRAMS
    return {
        plan(
            RunRequest(
                method=method, task=task, overrides={**changes, "optimizer.learning_rate": rate}, runs=Path("none")
            )
        ).identity.config_hash
        for method in SEARCHED[task]
        for rate in RATES
    }


@pytest.mark.parametrize("task", SEARCHED)
def test_recipes_have_the_rate_that_solved_most_of_an_equal_search_and_of_equal_ones_the_smallest(task, tmp_path):
    found = tries(task)
    assert set(found) == set(SEARCHED[task])
    for method, rates in found.items():
        assert tuple(sorted(rates)) == RATES, method
        assert {tuple(sorted(seeds)) for seeds in rates.values()} == {SEEDS.get(task, ONE_SEED)}, method
        best = max(sum(seeds.values()) for seeds in rates.values())
        chosen = min(rate for rate, seeds in rates.items() if sum(seeds.values()) == best)
        config = plan(RunRequest(method=method, task=task, runs=tmp_path)).resolved.config
        assert config.optimizer.learning_rate == chosen, method
