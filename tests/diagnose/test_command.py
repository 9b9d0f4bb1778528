"""What estimates cost and vary, and the command that shows it: tables, numbers, a figure."""

from __future__ import annotations

import csv
import itertools
import resource
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from harness import registry
from harness.cli.main import main
from harness.diagnose import measure
from harness.diagnose.estimators import all_candidates
from harness.diagnose.groups import all_groups
from harness.diagnose.mdp import (
    LENGTH,
    ORDERS,
)
from harness.diagnose.measure import FITTED, moments
from harness.report.read.estimators import variants

CHECKOUT = Path(__file__).resolve().parents[2]
EXACT = 1e-10


def test_the_report_reads_a_variant_of_every_method_that_there_is() -> None:
    every = [(item.name, item.estimator) for item in all_candidates()]
    found = {
        (name, one.options if one.scale is not None else f"{one.options} {FITTED}", one.baseline, str(one.size))
        for name, one in every
    }
    assert variants() <= found


@pytest.mark.parametrize(
    ("name", "options", "size", "forwards", "backwards"),
    [
        ("egspo", "entropy", 2, 2, 2),
        ("agrpo", "entropy, independent", 3, 3, 3),
        ("d1", "one step", 0, 2, 1),
        ("espo", "single", 2, 4, 2),
        ("espo", "coupled", 2, 8, 4),
        ("bgpo", "spread", 3, 6, 3),
        ("dmpo", "independent", 2, 10, 2),
        ("gdpo", "gauss", 3, 6, 3),
        ("gdsd", "elbo", 2, 4, 4),
        ("spg", "mix", 2, 2, 2),
        ("wd1", "both", 0, 1, 1),
    ],
)
def test_passes_are_steps_draws_or_inputs_and_forwards_those_of_the_old_policy_too(
    mdp, name, options, size, forwards, backwards, candidate
):
    baseline = "rank" if name == "egspo" else None
    found = measure.passes_per_completion(mdp, candidate(name, options, size, baseline))
    assert found == (forwards, backwards)


def test_variance_at_equal_compute_counts_the_rollout_and_a_backward_pass_twice(mdp, candidate):
    """EGSPO's 3 + 3 passes and a rollout of 3 are the measure: 12. d1 takes 3 + 2 + 2 of them."""
    measured = {
        name: measure.measure(mdp, all_groups(mdp), candidate(name, *rest), 0)
        for name, rest in (("egspo", ("entropy", LENGTH, "rank")), ("d1", ("one step",)))
    }
    assert measured["egspo"].variance_at_equal_compute == measured["egspo"].variance
    assert measured["d1"].variance_at_equal_compute == pytest.approx(measured["d1"].variance * 7 / 12, rel=1e-12)


def test_low_discrepancy_draws_vary_less_than_independent_ones(mdp, groups, candidate):
    generator = torch.Generator().manual_seed(0)
    low, independent = (
        moments(mdp, groups, candidate("agrpo", f"uniform, {draws}", 3), generator).square
        for draws in ("low-discrepancy", "independent")
    )
    assert low < 0.95 * independent


def test_every_k_with_every_selection_and_baseline_is_there():
    estimators = [item.estimator for item in all_candidates() if item.name == "egspo"]
    selections = ("entropy", "uniform", "random", "random-official")
    expected = set(itertools.product(selections, ("none", "rank", "step"), (1, 2, 3)))
    assert {(item.options, item.baseline, item.size) for item in estimators} == expected
    assert {item.name for item in all_candidates()} == set(registry.names("method"))


@pytest.fixture
def few(monkeypatch):
    """The first point of each line of the figure alone, and one that is measured with early ends too."""
    kept = [
        item
        for item in all_candidates()
        if item.name in ("agrpo", "d1", "egspo") and item.estimator.is_drawn and item.estimator.size <= 1
    ]
    monkeypatch.setattr(measure, "all_candidates", lambda: kept)
    monkeypatch.setattr("harness.cli.diagnose.LEFT_OUT_POLICIES", 2)
    return kept


def test_the_command_shows_tables_and_writes_numbers_and_a_figure(few, tmp_path, capsys):
    assert main(["diagnose", "--policies", "1", "--out", str(tmp_path / "made")]) == 0
    shown = capsys.readouterr().out
    assert "1 random policy, no completion ends early" in shown
    assert "AGRPO" in shown
    assert "steps left out" in shown
    rows = list(csv.DictReader((tmp_path / "made" / "estimators.csv").open()))
    assert len(rows) == len(ORDERS) * (len(few) + sum(item.estimator.ends_early for item in few))
    agrpo = [row for row in rows if row["method"] == "agrpo" and row["ends_early"] == "false"]
    assert {row["order"] for row in agrpo} == set(ORDERS)
    for row in agrpo:
        assert float(row["bias"]) < EXACT
        assert float(row["bias_standard_error"]) == 0
        assert float(row["variance"]) > 10 * float(row["variance_standard_error"]) > 0
        assert float(row["backwards_per_completion"]) == 1
        assert float(row["variance_at_equal_compute"]) == pytest.approx(float(row["variance"]) / 2, rel=1e-6)
    assert len(list(csv.DictReader((tmp_path / "made" / "steps-left-out.csv").open()))) == 8
    assert ET.parse(tmp_path / "made" / "estimators.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert (tmp_path / "made" / "estimators.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_same_command_writes_the_same_bytes(few, tmp_path):
    for name in ("first", "second"):
        assert main(["diagnose", "--policies", "2", "--out", str(tmp_path / name)]) == 0
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path, capsys):
    (tmp_path / "taken").touch()
    assert main(["diagnose", "--out", str(tmp_path / "taken")]) == 2
    assert capsys.readouterr().err.startswith(f"harness: '{tmp_path / 'taken'}' is a file")


@pytest.mark.slow
def test_the_command_takes_a_processor_less_than_a_minute_for_a_policy(tmp_path):
    command = [sys.executable, "-m", "harness", "diagnose", "--policies", "1", "--out", str(tmp_path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of one processor, so that other work on the machine does not count.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60
