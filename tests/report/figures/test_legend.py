from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from matplotlib.text import Text

from harness.report.figures import frame
from harness.report.figures.legend import NAME_CHARACTERS, THIRD_CHARACTERS, draw_legend, legend_height
from harness.report.figures.looks import Look

LOOK = Look(colour="#0072B2", dashes="-", marker="o")


def drawn(names: Sequence[str]) -> tuple[frame.Sheet, list[Text]]:
    with frame.sheet("Title", "note", height=2.0) as sheet:
        draw_legend(sheet, names, [LOOK] * len(names), top=0.46)
        _title, _note, *found = sheet.figure.texts
        return sheet, found


@pytest.mark.parametrize(("longest", "rows"), [(THIRD_CHARACTERS, 2), (THIRD_CHARACTERS + 1, 3)])
def test_three_names_share_a_row_unless_one_is_too_long(longest: int, rows: int) -> None:
    assert legend_height(["n" * longest, *["name"] * 4]) == pytest.approx(rows * 0.16)


@pytest.mark.parametrize("longest", [THIRD_CHARACTERS, NAME_CHARACTERS])
def test_no_name_lies_on_the_next_or_leaves_the_figure(longest: int) -> None:
    # The letters of such a name are as wide as those of names in running text.
    name = ("EGSPO-SA, selection=entropy, stepwise_lambda=0.25" * 2)[:longest]
    sheet, texts = drawn([name] * 3)
    assert [text.get_text() for text in texts] == [name] * 3
    boxes = [text.get_window_extent() for text in texts]
    for left, right in pairwise(boxes):
        assert left.x1 < right.x0 - 0.055 * sheet.figure.bbox.width or right.y1 < left.y0
    assert max(box.x1 for box in boxes) < sheet.figure.bbox.width


def test_a_title_is_cut_and_a_note_takes_a_second_line_where_they_are_wider_than_the_figure() -> None:
    with frame.sheet("A title of a figure " * 5, "a note of a figure " * 8, height=2.0) as sheet:
        title, note = sheet.figure.texts
        assert title.get_text().endswith("…")
        assert note.get_text().count("\n") == 1
        assert max(text.get_window_extent().x1 for text in (title, note)) < sheet.figure.bbox.width
