"""The `tiny` recipes have the learning rates that an equal search chose on validation items."""

from pathlib import Path

import pandas
import pytest

from harness import registry
from harness.app.plan import RunRequest, plan

SEARCHES = sorted((Path(__file__).parents[2] / "results" / "search").glob("*.csv"))


@pytest.fixture(scope="module", params=SEARCHES, ids=lambda path: path.stem)
def search(request):
    return request.param.stem, pandas.read_csv(request.param, keep_default_na=False)


def test_every_method_was_tried_at_the_same_rates_with_one_seed(search):
    _, tries = search
    rates = {method: tuple(sorted(of_method["learning_rate"])) for method, of_method in tries.groupby("method")}
    assert set(rates) == set(registry.names("method"))
    assert set(rates.values()) == {(3e-5, 1e-4, 3e-4, 1e-3, 3e-3)}
    assert set(tries["seed"]) == {100}


def test_the_chosen_rate_solved_most_and_is_the_smallest_that_did(search):
    _, tries = search
    for method, of_method in tries.groupby("method"):
        best = of_method[of_method["solved"] == of_method["solved"].max()]
        chosen = of_method[of_method["chosen"] == "yes"]
        assert chosen["learning_rate"].tolist() == [best["learning_rate"].min()], method


def test_the_recipes_have_the_chosen_rates(search, tmp_path):
    task, tries = search
    for method, rate in tries[tries["chosen"] == "yes"][["method", "learning_rate"]].itertuples(index=False):
        config = plan(RunRequest(method=method, task=task, runs=tmp_path)).resolved.config
        assert config.optimizer.learning_rate == rate, method
