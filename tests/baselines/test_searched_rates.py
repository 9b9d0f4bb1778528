"""The `tiny` recipes have the learning rates that an equal search chose on validation items."""

from collections import defaultdict
from pathlib import Path

import pandas
import pytest

import harness
from harness import registry
from harness.app.plan import RunRequest, plan

RESULTS = Path(__file__).parents[2] / "results"
RATES = {"sudoku": (3e-5, 1e-4, 3e-4, 1e-3), "countdown": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)}
SEEDS = {"sudoku": (100, 101), "countdown": (100,)}


def packed(task):
    """The tries of the methods by their recipes, of the runs in an archive: method to rate to values by seed."""
    frames = harness.read_runs(RESULTS / "study" / f"search-{task}.tar.xz")
    runs = frames.runs[(frames.runs["model.lora.rank"] == 0) & (frames.runs["config_hash"].isin(plain(task)))]
    ends = frames.evaluations[
        (frames.evaluations["checkpoint"] == "last") & (frames.evaluations["metric"] == "exact_match")
    ]
    assert set(ends["split"]) == {"validation"}
    values = dict(zip(ends["folder"], ends["value"], strict=True))
    for one in runs.to_dict("records"):
        yield one["method"], one["optimizer.learning_rate"], one["seed"], values[one["folder"]]


def plain(task):
    """The hashes of the searched configurations that change nothing but the rate."""
    changes = {"evaluation.split": "validation", "evaluation.every": 0}
    return {
        plan(
            RunRequest(
                method=method, task=task, overrides={**changes, "optimizer.learning_rate": rate}, runs=Path("none")
            )
        ).identity.config_hash
        for method in registry.names("method")
        for rate in RATES[task]
    }


def listed(task):
    """The same of a table."""
    table = pandas.read_csv(RESULTS / "search" / f"{task}.csv")
    yield from table[["method", "learning_rate", "seed", "solved"]].itertuples(index=False)


@pytest.fixture(
    scope="module",
    params=[pytest.param(("sudoku", packed), marks=pytest.mark.slow), ("countdown", listed)],
    ids=["sudoku", "countdown"],
)
def search(request):
    """The task, and method to rate to seed to value."""
    task, read = request.param
    tries = defaultdict(lambda: defaultdict(dict))
    for method, rate, seed, value in read(task):
        tries[method][rate][seed] = value
    return task, tries


def test_every_method_was_tried_at_the_same_rates_with_the_same_seeds(search):
    task, tries = search
    assert set(tries) == set(registry.names("method"))
    for method, rates in tries.items():
        assert tuple(sorted(rates)) == RATES[task], method
        assert {tuple(sorted(seeds)) for seeds in rates.values()} == {SEEDS[task]}, method


def test_the_recipes_have_the_rate_that_solved_most_and_of_equal_ones_the_smallest(search, tmp_path):
    task, tries = search
    for method, rates in tries.items():
        best = max(sum(seeds.values()) for seeds in rates.values())
        chosen = min(rate for rate, seeds in rates.items() if sum(seeds.values()) == best)
        config = plan(RunRequest(method=method, task=task, runs=tmp_path)).resolved.config
        assert config.optimizer.learning_rate == chosen, method
