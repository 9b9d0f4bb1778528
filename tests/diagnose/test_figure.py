"""The figure of `harness diagnose`: a line for whatever a method's own file says should be drawn."""

from __future__ import annotations

import re
from typing import Any

from harness.diagnose.estimators import all_candidates
from harness.diagnose.figure import all_series, draw
from harness.diagnose.measure import Measurement
from harness.report.labels import method_colours, method_name


def measurement(name: str, options: str = "", size: int = 1, **changes: Any) -> Measurement:
    values = {"baseline": "rank", "order": "random", "ends_early": False, "is_drawn": True}
    measures = {"bias": 0.1 * size, "bias_error": 0.0, "angle": 0.0, "variance": 1.0 + size, "variance_error": 0.0}
    passes = {"forwards": float(size), "backwards": float(size)}
    return Measurement(name=name, options=options, size=size, **{**values, **measures, **passes, **changes})


def of_all_methods() -> list[Measurement]:
    return [
        measurement(item.name, item.estimator.options, item.estimator.size, is_drawn=item.estimator.is_drawn)
        for item in reversed(all_candidates())
    ]


def titles(measured: list[Measurement]) -> dict[str, str]:
    return {item.name: method_name(item.name) for item in measured}


def test_every_method_has_its_lines_by_rising_size() -> None:
    measured = of_all_methods()
    series = all_series(measured, titles(measured))
    assert {line.label for line in series} >= {
        "EGSPO, entropy",
        "EGSPO, uniform",
        "EGSPO, random",
        "EGSPO-SA, entropy",
        "EGSPO-SA, uniform",
        "AGRPO, uniform",
        "AGRPO, entropy",
        "diffu-GRPO (d1)",
        "ESPO, single",
        "ESPO, coupled",
        "coupled-GRPO",
        "d2-StepMerge",
        "JustGRPO",
        "DMPO, antithetic",
        "DMPO, independent",
        "SPG",
        "TraceRL, trajectory",
        "TraceRL, random",
        "TraceRL, coupled",
        "wd1",
    }
    for line in series:
        sizes = [item.size for item in line.points]
        assert sizes == sorted(set(sizes))
    assert len({(line.name, line.place) for line in series}) == len(series)


def test_a_new_method_has_a_line_under_its_title_in_its_colour() -> None:
    measured = [*of_all_methods(), measurement("mine", "fitted scale", 0)]
    names = {**titles(measured), "mine": "Mine (2025)"}
    colours = {**method_colours(names), "mine": "#123456"}
    drawn = draw(measured, names=names, colours=colours)
    assert drawn == draw(measured, names=names, colours=colours)
    svg = drawn.svg.decode()
    assert "<!-- Mine (2025) -->" in svg
    assert len(re.findall("#123456", svg)) >= 2
    assert all(f"<!-- {line.label} -->" in svg for line in all_series(measured, names))


def test_lines_are_called_after_as_much_of_their_options_as_tells_them_apart() -> None:
    def labels(*options: str) -> list[str]:
        return [line.label for line in all_series([measurement("mine", text) for text in options], {"mine": "Mine"})]

    assert labels("only, one") == ["Mine"]
    assert labels("a, x", "b, x") == ["Mine, a", "Mine, b"]
    assert labels("a, x", "a, y") == ["Mine, a, x", "Mine, a, y"]


def test_what_a_method_does_not_draw_or_measures_with_early_ends_is_no_line() -> None:
    measured = [measurement("mine", "shown"), measurement("mine", "hidden", is_drawn=False)]
    assert [line.label for line in all_series(measured, {"mine": "Mine"})] == ["Mine"]
