"""A paper's tables and figures by one command: planned, made once, read from one document."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.app.reproduce import ReproductionRequest, plan_reproduction, reproduce
from harness.cli.main import main
from harness.config.published import reproductions
from harness.config.published.reproductions import load_reproduction
from harness.errors import UserError

SMALL = """
paper: egspo
title: A small paper
protocol: egspo
base: GSAI-ML/LLaDA-8B-Instruct
checkpoints: [egspo, egspo-sa]
seeds: [0, 1]
printed: {EGSPO: egspo, base: none}
runs:
  methods: {method: [egspo, d1], task: [sudoku]}
  control: {method: [egspo], task: [sudoku], reward: random}
  selection: {method: [egspo], task: [sudoku], set: {method.selection: [uniform]}}
artefacts:
  table-1: {title: "Table 1", kind: table, tasks: [sudoku], runs: [methods, control]}
  figure-1: {title: "Figure 1", kind: bars, runs: [methods]}
  figure-3a: {title: "Figure 3a", kind: curves, only: [flops], runs: [methods]}
  figure-4: {title: "Figure 4", kind: training, runs: [methods]}
  figure-5a: {title: "Figure 5a", kind: ablations, only: [selection], runs: [methods, selection]}
  figure-5b: {title: "Figure 5b", kind: steps, runs: [methods]}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "built-in" / "reproductions"
    folder.mkdir(parents=True)
    (folder / "1234.56789.yaml").write_text(SMALL)
    monkeypatch.setattr(reproductions, "built_in_folder", lambda: tmp_path / "built-in")
    return tmp_path / "out"


def request(out: Path, **options: object) -> ReproductionRequest:
    return ReproductionRequest(
        **{"paper": "1234.56789", "mode": "tiny", "out": out, "budget": {"updates": 2}, **options}
    )


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "tables" / "table-1.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_run_and_evaluation_is_planned_and_nothing_is_made(small: Path) -> None:
    planned = plan_reproduction(request(small))
    assert len(planned.runs) == len(planned.waiting) == (2 + 1 + 1) * 2
    # The base at three numbers of steps; two methods and the control, two seeds each, at half and twice the steps.
    assert [len(one.decodings) for one in planned.evaluations] == [3] + [2] * 6
    assert (planned.flops, planned.seconds) == (None, None)
    assert not small.exists()


def test_only_what_an_artefact_needs_is_planned(small: Path) -> None:
    planned = plan_reproduction(request(small, only=("figure-5a",)))
    assert (len(planned.runs), len(planned.evaluations)) == (6, 0)


@pytest.mark.slow
def test_the_document_holds_every_table_and_figure_and_is_made_once(small: Path) -> None:
    lines: list[str] = []
    reproduce(plan_reproduction(request(small, jobs=2)), on_line=lines.append)
    assert sum("/8]" in line for line in lines) == 8
    text = (small / "reproduction.md").read_text()
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Table 1", "## Figure 1", "## Figure 3a", "## Figure 4", "## Figure 5a", "## Figure 5b"]
    assert "Empty:" not in text
    assert (small / "reproduction.html").stat().st_size > 10_000
    runs, evals = small / "runs", small / "evals"
    for kind in ("bars", "curves", "training", "ablations", "steps"):
        assert f" Made by `harness report {runs} {evals} --figures {kind}`." in text
    again = f"harness reproduce 1234.56789 --with tiny --only table-1 --out {small} --budget updates=2"
    assert f"- Made by {again} from what is in {runs} and {evals}." in text
    found = {(row["Method"], row["Model of the paper"]): row for row in rows(small)}
    ours = found["EGSPO", "LLaDA-8B-Instruct"]
    assert (ours["Printed"], ours["Verdict"]) == ("93.6", "not comparable: tiny model, builtin data")
    assert all("[" in ours[column] for column in ("Half the steps", "Recipe's steps", "Twice the steps"))
    assert found["EGSPO", "Dream-v0-Instruct-7B"]["Verdict"] == "empty: Dream-v0-Instruct-7B was not run"
    assert found["wd1", "LLaDA-8B-Instruct"]["Verdict"] == "empty: wd1 is not implemented"
    assert found["EGSPO, random-reward control", "-"]["Verdict"] == "not in the paper's table"
    again = plan_reproduction(request(small))
    assert again.waiting == ()
    lines.clear()
    reproduce(again, on_line=lines.append)
    assert (small / "reproduction.md").read_text() == text


def test_the_command_of_a_table_has_every_option_that_decides_it(tmp_path: Path) -> None:
    options = {"data": "dir:my papers", "prompts": Path("prompts.yaml"), "budget": {"updates": 4, "minutes": 2}}
    asked = request(Path("out"), mode="published", items=8, **options)
    assert asked.command("table-1") == (
        "harness reproduce 1234.56789 --with published --only table-1 --out out --items 8 --data 'dir:my papers' "
        "--prompts prompts.yaml --budget updates=4,minutes=2"
    )


def test_published_weights_need_no_run_and_are_all_evaluated_under_the_protocol(small: Path) -> None:
    planned = plan_reproduction(request(small, mode="published", items=8))
    assert planned.runs == ()
    assert [(one.checkpoint or one.model, one.protocol, one.items) for one in planned.evaluations] == [
        ("GSAI-ML/LLaDA-8B-Instruct", "egspo", 8),
        ("egspo", "egspo", 8),
        ("egspo-sa", "egspo", 8),
    ]


def test_training_takes_the_base_the_paper_recipes_and_three_lengths(small: Path) -> None:
    planned = plan_reproduction(request(small, mode="training", only=("table-1",), data="builtin", budget={}))
    first = planned.runs[0]
    assert (first.model, first.overrides["evaluation.lengths"]) == ("GSAI-ML/LLaDA-8B-Instruct", [128, 256, 512])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"paper": "1234.5678"}, "Did you mean '1234.56789'"),
        ({"mode": "weights"}, "Unknown --with 'weights'"),
        ({"only": ("table-3",)}, "Did you mean 'table-1'"),
    ],
)
def test_what_is_not_known_is_one_sentence(small: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as error:
        plan_reproduction(request(small, **options))
    assert words in str(error.value)


def test_the_paper_s_own_file_names_methods_tasks_and_artefacts_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    paper = load_reproduction("2603.12554")
    names = [
        "table-1",
        "table-2",
        "figure-1",
        "figure-3a",
        "figure-3b",
        "figure-3c",
        "figure-4",
        "figure-5a",
        "figure-5b",
    ]
    assert list(paper.artefacts) == names
    assert main(["reproduce", "2603.12554", "--dry-run", "--only", "figure-5b", "--budget", "updates=1"]) == 0
    assert "Runs: 90, 0 of them finished" in capsys.readouterr().out
