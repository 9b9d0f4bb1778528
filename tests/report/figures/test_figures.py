"""Every kind of figure can be drawn, twice with the same bytes, also from unusual records."""

from __future__ import annotations

import copy
import io
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.report.analysis.sweeps import find_sweeps
from harness.report.chapters.document import make_document
from harness.report.figures import frame
from harness.report.figures.frame import Figure
from harness.report.figures.sweeps import prepare_axes, shifts
from harness.report.read.runs import collect

KINDS = ("bars", "training", "steps", "selection", "num_selected", "completion")


def figures_of(root: Path) -> dict[str, Figure]:
    figures = make_document(collect([root])).figures
    assert len({figure.stem for figure in figures}) == len(figures)
    return {figure.stem: figure for figure in figures}


def write_ablations(synthetic: Any) -> None:
    settings = copy.deepcopy(dict(synthetic.settings))
    settings["method"] |= {"selection": "entropy"}
    synthetic.run(settings=settings, traces=[synthetic.trace()])
    for number, (key, value) in enumerate((("selection", "uniform"), ("num_selected", 4))):
        changed = copy.deepcopy(settings)
        changed["method"][key] = value
        synthetic.run(settings=changed, config_hash=f"hash{number}", provenance={f"method.{key}": "command line"})


@pytest.mark.parametrize("kind", KINDS)
def test_two_drawings_are_the_same_bytes_and_whole_pictures(synthetic: Any, kind: str) -> None:
    write_ablations(synthetic)
    (figure,) = [item for stem, item in figures_of(synthetic.root).items() if kind in stem]
    first, second = figure.draw(), figure.draw()
    assert first == second
    assert Image.open(io.BytesIO(first.png)).size[0] == 1120
    assert ET.fromstring(first.svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert figure.points.records


def test_a_long_completion_with_words_special_tokens_and_filler_can_be_drawn(synthetic: Any) -> None:
    tokens = (" therefore", "\n", "", "数", "$x_{", *("the",) * 195)
    synthetic.run(
        traces=[
            synthetic.trace(
                tokens=tokens,
                text="".join(tokens),
                num_steps=100,
                unmask_step=tuple(place // 2 if place < 150 else 100 for place in range(200)),
                entropy=(float("nan"), *(0.5,) * 199),
                chosen_steps=(3, 70),
                greedy=(),
            )
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figures_of(synthetic.root)["sudoku-tiny-egspo-sa-completion"].draw().png


def test_the_completion_shown_is_that_of_the_first_seed(synthetic: Any) -> None:
    synthetic.run(seed=1, traces=[synthetic.trace(reward=0.0)])
    synthetic.run(seed=0, traces=[synthetic.trace(reward=0.75, greedy=())])
    records = figures_of(synthetic.root)["sudoku-tiny-egspo-sa-completion"].points.records
    assert {record["reward"] for record in records} == {0.75}


def test_a_run_of_one_update_with_constant_values_can_be_drawn(synthetic: Any) -> None:
    end = synthetic.evaluation("last", 1, synthetic.metrics(0))
    synthetic.run(records=[end], updates=1, lines=[synthetic.line(1, reward_mean=0.0, chosen_steps=[0, 0])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in figures_of(synthetic.root).values():
            assert figure.draw().png


def test_figures_of_the_same_name_are_numbered(synthetic: Any) -> None:
    for config_hash in ("0a1b2c3d", "1b2c3d4e"):
        synthetic.run(config_hash=config_hash, traces=[synthetic.trace()])
    assert {"sudoku-tiny-egspo-sa-completion", "sudoku-tiny-egspo-sa-completion-2"} <= figures_of(synthetic.root).keys()


def test_long_completions_have_a_figure_each_and_short_ones_share_one(synthetic: Any) -> None:
    long = {name: values * 40 for name, values in (("tokens", ("a",)), ("unmask_step", (0,)), ("entropy", (0.1,)))}
    synthetic.run(traces=[synthetic.trace(greedy=(), **long), synthetic.trace(iteration=9, greedy=(), **long)])
    synthetic.run(method="egspo", traces=[synthetic.trace(), synthetic.trace(iteration=9)])
    completions = [figure for figure in figures_of(synthetic.root).values() if figure.tab.startswith("EGSPO")]
    assert [figure.tab for figure in completions] == ["EGSPO", "EGSPO-SA, rollout 1", "EGSPO-SA, rollout 9"]
    assert completions[1].draw().png != completions[2].draw().png


def test_the_ticks_of_forward_passes_are_round_however_close_the_means_of_lines_lie(synthetic: Any) -> None:
    for method, shift in (("egspo", 0.0), ("espo", 0.1)):
        ends = [
            synthetic.evaluation("last", 24, synthetic.metrics(64), decoding={"num_steps": steps}, nfe=steps - shift)
            for steps in (4, 8, 16)
        ]
        synthetic.run(method=method, records=ends)
    (sweep,) = find_sweeps(synthetic.groups(), {"sudoku": "exact_match"})
    with frame.sheet("", "", height=2.0) as sheet:
        axes = sheet.axes(frame.Box(left=0.5, top=0.2, width=5, height=1.5))
        prepare_axes(axes, sweep, 3.0, 17.0)
        assert [tick for tick in axes.get_xticks() if 3 <= tick <= 17] == [4, 6, 8, 10, 12, 14, 16]


def test_many_lines_are_shifted_less_so_that_each_point_stays_near_its_value() -> None:
    assert shifts(1) == [0.0]
    assert shifts(3) == pytest.approx([-0.012, 0.0, 0.012])
    many = shifts(15)
    assert (many[0], many[7], many[14]) == pytest.approx((-0.06, 0.0, 0.06))
