from __future__ import annotations

import io
import itertools
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.report.analysis.curves import CURVE_AXES, FLOPS, FORWARD_FLOPS, Axis, Panel, make_panels
from harness.report.figures.curves import curve_figure, draw
from harness.report.figures.ends import spread_out
from harness.report.figures.frame import Picture
from harness.report.figures.small import has_small_panels
from harness.report.labels import CONTROL_COLOUR, method_colours


def panel_of(synthetic: Any) -> Panel:
    return make_panels(synthetic.groups())[0]


def picture(panel: Panel, axis: Axis = FLOPS) -> Picture:
    return draw(panel, axis, method_colours(line.group.method for line in panel.lines))


def png_chunks(png: bytes) -> set[str]:
    names, place = set(), 8
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        names.add(png[place + 4 : place + 8].decode())
        place += 12 + size
    return names


@pytest.mark.parametrize("axis", CURVE_AXES)
def test_two_drawings_are_the_same_bytes_and_whole_pictures(synthetic: Any, axis: Axis) -> None:
    synthetic.demo()
    first, second = picture(panel_of(synthetic), axis), picture(panel_of(synthetic), axis)
    assert first == second
    assert Image.open(io.BytesIO(first.png)).size == (1120, 660)
    assert ET.fromstring(first.svg).tag == "{http://www.w3.org/2000/svg}svg"


def test_no_date_and_no_program_is_written(synthetic: Any) -> None:
    synthetic.run()
    drawn = picture(panel_of(synthetic))
    assert png_chunks(drawn.png).isdisjoint({"tEXt", "tIME", "iTXt", "zTXt"})
    assert b"dc:date" not in drawn.svg
    assert b"dc:creator" not in drawn.svg


def test_a_users_own_style_changes_nothing_and_is_left_alone(synthetic: Any) -> None:
    synthetic.run()
    plain = picture(panel_of(synthetic))
    with mpl.rc_context({"lines.linewidth": 9, "figure.facecolor": "black", "savefig.dpi": 30}):
        assert picture(panel_of(synthetic)) == plain
        assert mpl.rcParams["lines.linewidth"] == 9


def test_methods_have_their_colours_and_the_control_is_grey(synthetic: Any) -> None:
    synthetic.demo()
    svg = picture(panel_of(synthetic)).svg.decode().lower()
    colours = method_colours(["egspo", "egspo-sa", "agrpo"])
    for colour in (colours["egspo"], colours["egspo-sa"], CONTROL_COLOUR):
        assert f"stroke: {colour.lower()}" in svg
    assert f"stroke: {colours['agrpo'].lower()}" not in svg


def test_text_from_outside_is_never_read_as_a_formula(synthetic: Any) -> None:
    synthetic.run(method="cost$x_{$", task="a$b$")
    assert picture(panel_of(synthetic)).png


def test_all_zero_and_no_compute_can_be_drawn(synthetic: Any) -> None:
    zero = synthetic.metrics(0)
    records = [synthetic.evaluation(name, 0, zero, flops_total=0.0) for name in ("base", "last")]
    synthetic.run(records=[*records, synthetic.evaluation("step", 4, zero, flops_total=0.0)])
    for axis in CURVE_AXES:
        assert picture(panel_of(synthetic), axis).png


def test_many_lines_make_the_figure_taller(synthetic: Any) -> None:
    for number in range(24):
        synthetic.run(method=f"method-{number:02}")
    width, height = Image.open(io.BytesIO(picture(panel_of(synthetic)).png)).size
    assert width == 1120
    assert height > 900


def test_labels_far_apart_stay_where_they_belong() -> None:
    assert spread_out([0.8, 0.2], [0.1, 0.1]) == pytest.approx([0.8, 0.2])


def test_labels_close_together_share_their_middle() -> None:
    assert spread_out([0.5, 0.52], [0.1, 0.1]) == pytest.approx([0.46, 0.56])


def test_labels_at_the_edge_stay_inside() -> None:
    assert spread_out([1.0, 1.0], [0.1, 0.2]) == pytest.approx([0.75, 0.9])
    assert spread_out([0.0], [0.1]) == pytest.approx([0.05])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.1)), min_size=1, max_size=10))
def test_labels_never_overlap_nor_change_their_order(labels: list[tuple[float, float]]) -> None:
    wanted, sizes = [label[0] for label in labels], [label[1] for label in labels]
    middles = spread_out(wanted, sizes)
    order = sorted(range(len(labels)), key=lambda index: (middles[index], index))
    assert [wanted[index] for index in order] == sorted(wanted)
    for below, above in itertools.pairwise(order):
        assert middles[above] - middles[below] >= (sizes[above] + sizes[below]) / 2 - 1e-9
    assert all(middle - size / 2 >= -1e-9 for middle, size in zip(middles, sizes, strict=True))
    assert all(middle + size / 2 <= 1 + 1e-9 for middle, size in zip(middles, sizes, strict=True))


def test_runs_from_before_forward_passes_were_counted_apart_are_named_and_not_guessed(synthetic: Any) -> None:
    synthetic.demo()
    old = [replace(record, flops_forward=None) for record in synthetic.learning(38, 90)]
    synthetic.run(method="espo", config_hash="3d4e5f60", records=old)
    panel = panel_of(synthetic)
    colours = method_colours(line.group.method for line in panel.lines)
    note = "Recorded before forward passes were counted apart, so not drawn against them alone: ESPO."
    for axis in CURVE_AXES:
        figure = curve_figure(panel, axis, colours)
        assert (note in figure.caption) is (axis in (FLOPS, FORWARD_FLOPS))
        labels = {record["label"] for record in figure.points.records}
        assert ("ESPO" in labels) is (axis is not FORWARD_FLOPS)
        assert figure.draw().png.startswith(b"\x89PNG")
    ends = [record for record in curve_figure(panel, FLOPS, colours).points.records if record["checkpoint"] == "last"]
    assert {record["label"]: record["flops_forward"] for record in ends} == {
        "EGSPO": 9.6e10,
        "EGSPO-SA": 9.6e10,
        "EGSPO-SA, random-reward control": 9.6e10,
        "ESPO": None,
    }


def test_bands_of_two_methods_lie_in_one_plot_and_those_of_two_variants_in_panels_of_their_own(synthetic: Any) -> None:
    for seed in range(2):
        synthetic.run(seed=seed)
        synthetic.run(seed=seed, method="espo", config_hash="1b2c3d4e")
    assert not has_small_panels(panel_of(synthetic))
    settings = {**synthetic.settings, "optimizer": {"learning_rate": 1e-4}}
    for seed in range(2):
        synthetic.run(seed=seed, config_hash="2c3d4e5f", settings={**settings, "seed": seed})
    panel = panel_of(synthetic)
    assert len(panel.lines) == 3
    assert has_small_panels(panel)
