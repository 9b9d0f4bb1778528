"""What commands print on narrow terminals and in pipes: nothing is cut, and no name is broken that fits into a line."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_params_from_function

from harness.app import catalogue
from harness.cli.main import SUBCOMMANDS, main
from harness.cli.terminal import feedback
from harness.cli.terminal.feedback import fitted
from harness.cli.terminal.tables import column_widths, show_table

WIDTHS = (40, 80)
STYLE = re.compile(r"\x1b\[[0-9;]*m")
FRAME = "│┃ "
INDENT = 4
"""Blanks at most before the lines that a long one goes on in."""

Printed = Callable[..., str]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """What an action prints on a terminal of so many columns, 0 for a pipe; colours are left out."""

    def run(width: int, action: Callable[[], object]) -> str:
        with monkeypatch.context() as place:
            place.setenv("COLUMNS", str(width or 50))
            if width:
                place.setenv("FORCE_COLOR", "1")
            else:
                place.delenv("FORCE_COLOR", raising=False)
            action()
        return STYLE.sub("", capsys.readouterr().out)

    return run


def command(*words: object) -> Callable[[], object]:
    return lambda: main(list(map(str, words)))


def check(in_a_pipe: str, on_a_terminal: str, width: int) -> None:
    """Whether a terminal shows, in lines that fit, every word of a pipe that fits into a line, and all letters."""
    assert "…" not in on_a_terminal
    assert max(map(len, on_a_terminal.splitlines())) <= width
    shown = set(re.split(rf"[{FRAME}\n]+", on_a_terminal))
    words = {word for word in in_a_pipe.split() if len(word) <= width - INDENT and set(word) != {"-"}}
    assert words - {word.rstrip(":") for word in shown} - shown == set()
    letters = re.sub(rf"[{FRAME}\n]+", "", on_a_terminal)
    assert [word for word in in_a_pipe.split() if set(word) != {"-"} and word not in letters] == []


@pytest.mark.parametrize("kind", [*catalogue.LISTS, "keys"])
def test_a_list_is_whole_on_a_narrow_terminal(kind: str, printed: Printed) -> None:
    words = command("list", kind, *(["optimizer", "espo"] if kind == "keys" else []))
    in_a_pipe = printed(0, words)
    for width in WIDTHS:
        check(in_a_pipe, printed(width, words), width)


@pytest.mark.parametrize("what", ["optimizer.learning_rate", "espo", "egspo-sa:tiny"])
@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_shown_is_whole_on_a_narrow_terminal(what: str, width: int, printed: Printed) -> None:
    words = command("show", what, *(["--task", "sudoku"] if ":" in what else []))
    check(printed(0, words), printed(width, words), width)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_plan_is_whole_on_a_narrow_terminal(width: int, printed: Printed, tmp_path: Path) -> None:
    asked = ("--method", "espo", "--task", "sudoku", "--config", "--rate", 1, "--memory", 8, "--runs", tmp_path)
    check(printed(0, command("plan", *asked)), printed(width, command("plan", *asked)), width)


@pytest.mark.parametrize("name", ["", *(one.name for one in SUBCOMMANDS)])
def test_help_shows_every_option_whole(name: str, printed: Printed) -> None:
    words = command(*([name] if name else []), "-h")
    functions = [] if not name or name == "lm-eval" else [next(one for one in SUBCOMMANDS if one.name == name).load()]
    options = {
        "--" + option.replace("_", "-")
        for function in functions
        for option, given in get_params_from_function(function).items()
        if not given.default.param_decls and type(given.default).__name__ == "OptionInfo"
    }
    for width in (0, *WIDTHS):
        text = printed(width, words)
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= (width or 80)
        assert options - set(text.split()) == set()


def test_a_pipe_gets_long_lines_whole(printed: Printed) -> None:
    long = f"{'word ' * 60}end"
    rows = [["name", long]]
    assert printed(0, lambda: feedback.echo(long)) == f"{long}\n"
    assert long in printed(0, lambda: show_table("Title", ["A", "B"], rows, numeric=[False, False]))


@pytest.mark.parametrize(
    ("line", "width", "lines"),
    [
        ("fits", 4, ["fits"]),
        ("  Meaning: of all draws", 14, ["  Meaning: of", "    all draws"]),
        ("see --adapter-subfolder", 21, ["see", "  --adapter-subfolder"]),
        ("in results/runs/sudoku/espo", 22, ["in results/runs/", "  sudoku/espo"]),
        ("a" * 10, 6, ["aaaaaa", "  aaaa"]),
    ],
)
def test_a_line_is_broken_between_words_and_then_behind_a_stroke(line: str, width: int, lines: list[str]) -> None:
    assert fitted(line, width).split("\n") == lines


@pytest.mark.parametrize(
    ("room", "widths"),
    [(13, [3, 10]), (12, [3, 9]), (8, [3, 5]), (7, None)],
)
def test_the_widest_column_gives_way_down_to_its_longest_word(room: int, widths: Sequence[int] | None) -> None:
    assert column_widths(["Key", "Of"], [["a", "three four"], ["b", "seven"]], room) == widths


def test_a_table_that_is_too_wide_becomes_records_and_leaves_empty_cells_out(printed: Printed) -> None:
    rows = [["egspo-sa", "", "0.5"], ["d1", "of 2025", "1"]]
    heads, numeric = ["Method", "Note", "Value"], [False, False, True]
    assert printed(20, lambda: show_table("Two", heads, rows, numeric=numeric)) == (
        "Two\n\nMethod: egspo-sa\n  Value: 0.5\n\nMethod: d1\n  Note: of 2025\n  Value: 1\n\n"
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_a_live_line_keeps_its_facts_and_drops_the_bar(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=screen.write, flush=screen.flush, isatty=lambda: True))
    text = "update 48  reward 0.312  KL 0.0012  12,345 tokens/s  time left 1:23:45"
    live = feedback.live_display()
    assert live is not None
    live.add_task(text, total=1.0)
    lines = ["".join(piece.text for piece in line) for line in live.console.render_lines(live.get_renderable())]
    assert max(map(len, lines)) <= width
    assert text.split() == [word for word in " ".join(lines).split() if "%" not in word]
