from __future__ import annotations

import math

import pytest

from harness.report.labels import (
    CONTROL_COLOUR,
    OTHER_COLOURS,
    ablation_keys,
    data_name,
    digits,
    flop_unit,
    headline_metric,
    method_colours,
    method_name,
    percent,
    points,
    slug,
    task_name,
)


@pytest.mark.parametrize(
    ("metrics", "wanted", "chosen"),
    [
        (["validity", "cell_accuracy", "exact_match"], None, "exact_match"),
        (["pass@1", "accuracy"], None, "accuracy"),
        (["pass@1", "brier"], None, "pass@1"),
        (["b", "a"], None, "a"),
        (["exact_match", "validity"], "validity", "validity"),
        (["exact_match"], "validity", "exact_match"),
        ([], None, "-"),
    ],
)
def test_the_headline_metric(metrics: list[str], wanted: str | None, chosen: str) -> None:
    assert headline_metric(metrics, wanted) == chosen


@pytest.mark.parametrize(
    ("flops", "name"), [(0, "FLOP"), (999, "FLOP"), (1e3, "kFLOP"), (2.4e11, "GFLOP"), (1e12, "TFLOP"), (3e26, "YFLOP")]
)
def test_the_unit_of_flops(flops: float, name: str) -> None:
    assert flop_unit(flops).name == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.21345, "0.213"),
        (4.1536, "4.15"),
        (41.536, "41.5"),
        (1536, "1,536"),
        (math.nan, "-"),
        (1e-9, "0.000000"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_percent_and_points_and_what_is_no_number() -> None:
    assert (percent(0.6171875), percent(1.0), percent(math.nan)) == ("61.7", "100.0", "-")
    assert (points(0.472), points(-0.031), points(-0.0001), points(math.nan)) == ("+47.2", "-3.1", "0.0", "-")


def test_titles_are_those_of_the_files_also_under_an_alias_and_plain_names_where_there_is_no_file() -> None:
    assert (method_name("egspo-sa"), method_name("d1"), method_name("diffu-grpo")) == (
        "EGSPO-SA",
        "diffu-GRPO (d1)",
        "diffu-GRPO (d1)",
    )
    assert (task_name("gsm8k"), task_name("humaneval")) == ("GSM8K", "HumanEval")
    assert (method_name("someone-elses"), task_name("someone-elses")) == ("someone-elses", "someone-elses")
    # A task's name is no method's.
    assert method_name("gsm8k") == "gsm8k"


def test_known_methods_keep_their_colour_whatever_else_is_there() -> None:
    alone, together = method_colours(["egspo-sa"]), method_colours(["egspo-sa", "mine", "another"])
    assert alone["egspo-sa"] == together["egspo-sa"] == "#D55E00"
    assert together["mine"] != together["another"]
    assert {together["mine"], together["another"]} <= set(OTHER_COLOURS)


def test_the_published_methods_have_five_different_colours_and_none_of_the_others() -> None:
    colours = method_colours(["egspo", "egspo-sa", "d1", "agrpo", "espo", "diffu-grpo"])
    assert len(set(colours.values())) == 5
    assert colours["d1"] == colours["diffu-grpo"]
    assert set(colours.values()).isdisjoint((*OTHER_COLOURS, CONTROL_COLOUR))


def test_ablations_are_settings_of_the_method_and_an_unknown_method_has_none() -> None:
    assert ablation_keys("egspo-sa") == ("method.selection", "method.num_selected", "method.stepwise_lambda")
    assert ablation_keys("someone-elses") == ()


def test_data_sources_in_words() -> None:
    assert (data_name("builtin"), data_name("hub"), data_name("dir:papers")) == (
        "builtin data",
        "hub data",
        "data folder papers",
    )


@pytest.mark.parametrize(
    ("text", "name"), [("GSAI-ML/LLaDA-8B", "gsai-ml-llada-8b"), ("Exact match", "exact-match"), ("数", "x")]
)
def test_names_of_files_and_anchors_are_plain(text: str, name: str) -> None:
    assert slug(text) == name
