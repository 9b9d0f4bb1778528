from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.report.analysis.curves import FLOPS, axis_end, make_panels
from harness.report.figures.curves import draw
from harness.report.figures.frame import styled
from harness.report.figures.looks import looks_of, names_of
from harness.report.figures.style import read_style
from harness.report.labels import method_colours


def style_of(folder: Path, text: str) -> Path:
    path = folder / "own.mplstyle"
    path.write_text(text)
    return path


def test_a_style_changes_the_picture_while_it_holds_and_comments_are_none_of_its_settings(
    synthetic: Any, tmp_path: Path
) -> None:
    synthetic.run()
    (panel,) = make_panels(synthetic.groups())
    style = read_style(style_of(tmp_path, '# mine\naxes.facecolor: "#123456"  # dark\n\nfont.family: serif\n'))
    assert style == {"axes.facecolor": "#123456", "font.family": ["serif"]}
    plain = draw(panel, FLOPS, method_colours(["egspo-sa"]))
    with styled(style):
        assert b"#123456" in draw(panel, FLOPS, method_colours(["egspo-sa"])).svg
    assert draw(panel, FLOPS, method_colours(["egspo-sa"])) == plain
    assert plain.pdf.startswith(b"%PDF")
    assert b"CreationDate" not in plain.pdf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lines.width: 2", r"line 1: matplotlib has no setting 'lines\.width'; did you mean 'lines\.linewidth'\?"),
        ("\naxes.grid.axis: z", r"line 2: axes\.grid\.axis cannot be 'z'"),
        ("just words", r"'just words' is not a setting; write it as 'name: value'"),
        ("text.usetex: True", r"sets text\.usetex, which is the same in every report"),
    ],
)
def test_a_faulty_style_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_style(style_of(tmp_path, text))


def test_a_style_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\)"):
        read_style(tmp_path / "none.mplstyle")


def test_an_axis_is_cut_behind_the_majority_where_few_lines_stretch_it() -> None:
    assert axis_end([1.0, 2.0, 2.0, 4.0]) == pytest.approx(2.1)
    # 1.8 times as long is no stretch, one of two lines no majority.
    assert axis_end([1.0, 2.0, 2.0, 3.6]) == 3.6
    assert axis_end([1.0, 4.0]) == 4.0
    assert axis_end([0.0, 0.0, 4.0]) == 4.0


def test_groups_of_one_method_never_share_a_look_or_a_name(synthetic: Any) -> None:
    for number in range(12):
        rate = {"name": "adamw", "learning_rate": number / 100}
        settings = {**synthetic.settings, "optimizer": rate, "method": {"name": "egspo-sa", "number": number // 6}}
        synthetic.run(config_hash=f"{number:08}", settings=settings)
    synthetic.run(recipe="other")
    groups = synthetic.groups()
    looks = looks_of(groups, method_colours(group.method for group in groups))
    assert len({(look.colour, str(look.dashes)) for look in looks}) == len(groups) == 13
    for most in (8, 24, 200):
        assert len(set(names_of(groups, most))) == 13
