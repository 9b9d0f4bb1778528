from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd

from harness.report.chapters.printed import (
    differences,
    every_value,
    methods_table,
    other_values,
    reference_of,
    reference_text,
)
from harness.report.chapters.published import DREAM
from harness.report.formats.csv import table_csv
from harness.report.read.published import Value, load_published

PUBLISHED = load_published()
REFERENCE = reference_of("countdown", PUBLISHED)


def value(percentage: float, **changes: object) -> Value:
    return replace(REFERENCE, value=percentage, **changes)


def test_a_footnote_tells_what_departs_and_what_is_not_stated() -> None:
    assert differences(REFERENCE, PUBLISHED) == ""
    other = value(1.0, shots=3, tokens_per_step=1, checkpoint="", training="full")
    assert differences(other, PUBLISHED) == "3-shot; 1 token per step; full fine-tuning; not stated: checkpoint choice"


def test_the_base_has_no_checkpoint_to_choose() -> None:
    assert differences(value(20.7, checkpoint="none", training="none"), PUBLISHED) == ""


def test_the_reference_protocol_in_words() -> None:
    text = reference_text(("countdown", "mbpp"), PUBLISHED)
    assert text.startswith("0-shot, 2 tokens per step, best checkpoint on the test set, for each length, LoRA; ")
    assert text.endswith("MBPP on 257 sanitized items")


def test_every_value_of_a_task_is_listed_with_grade_and_source() -> None:
    table = every_value(PUBLISHED, "sudoku")
    wanted = [value for value in PUBLISHED.values if value.task == "sudoku"]
    assert len(table.cells) == len(wanted) > 100
    frame = pd.read_csv(io.StringIO(table_csv(table)))
    assert frame.Value.dtype == float
    assert any(frame[frame.Method == "AGRPO v2 (second version)"].Unit == "points")
    own, dream = frame[(frame.Method == "EGSPO-SA") & (frame.Length == "best")].to_dict("records")
    assert (dream["Model"], dream["Value"]) == (DREAM, 90.6)
    # Wilson's interval of 94.3 % of 256.
    assert (own["Value"], own["95 % interval"], own["Grade"]) == (94.3, "[90.8, 96.5]", "confirmed")


def test_values_say_which_method_here_they_are_of() -> None:
    frame = pd.read_csv(io.StringIO(table_csv(every_value(PUBLISHED, "sudoku"))))
    gdsd = frame[frame["Method here"] == "gdsd"]
    assert sorted(gdsd["Value"]) == [82.3, 89.8, 91.7, 92.0]
    assert set(frame[frame.Method == "CJ-GRPO"]["Method here"]) == {"-"}


def test_values_of_other_tests_are_in_one_table_under_the_names_of_the_tests() -> None:
    table = other_values(PUBLISHED, ("sudoku", "countdown", "gsm8k", "math500", "mbpp", "humaneval"))
    found = {cells[0]: (cells[1], cells[8]) for cells in table.cells}
    assert found == {
        "maths": ("DACA-GRPO", "5.6"),
        "code": ("DACA-GRPO", "7.4"),
        "constraint tasks": ("DACA-GRPO", "36.3"),
        "evalplus": ("Coupled-GRPO (DiffuCoder)", "4.4"),
    }


def test_the_methods_of_a_report_are_listed_with_their_printed_names() -> None:
    table = methods_table(PUBLISHED, ["justgrpo", "gdsd", "tracerl", "someone-elses"])
    assert [cells[1:] for cells in table.cells] == [
        ("justgrpo", "JustGRPO", "JustGRPO, 2601.15165", "12", "0"),
        ("gdsd", "GDSD; GDSD-TLC (the variant tlc)", "GDSD, 2605.29398", "12", "0"),
        (
            "tracerl",
            "TraceRL; TraceRL (TraDo-8B); TraceRL (TraDo-4B)",
            "TraceRL, 2509.06949; d-TreeRPO, 2512.09675",
            "8",
            "16",
        ),
        ("someone-elses", "-", "-", "0", "0"),
    ]
    assert table.supports[2].endswith(
        "(tracerl): 8 own and 16 other values, printed as TraceRL, TraceRL (TraDo-8B) and TraceRL (TraDo-4B) by "
        "TraceRL, 2509.06949; d-TreeRPO, 2512.09675."
    )
    assert table.supports[3] == "someone-elses (someone-elses): no published value is known to us."
