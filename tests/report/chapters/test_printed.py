from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd

from harness.report.chapters.printed import differences, every_value, reference_of, reference_text
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
