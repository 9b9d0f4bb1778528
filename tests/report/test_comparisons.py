from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.records.jsonl import write_samples
from harness.report.collect import collect
from harness.report.comparisons import Comparisons, compare, comparison_table, read_verdicts
from harness.report.groups import make_groups
from harness.report.tables import markdown


def sample(item: int, *, right: bool, **metrics: Any) -> dict[str, Any]:
    verdict = {"part": float(right), "whole": 1.0}
    return {"id": f"item-{item}", "text": "", "metrics": {"exact_match": verdict, **metrics}}


def run(synthetic: Any, right: Sequence[bool], *, name: str = "samples-last.jsonl.gz", **identity: Any) -> Path:
    """A run whose last checkpoint has these verdicts."""
    metrics = {"exact_match": synthetic.metrics(sum(right), n=len(right))["exact_match"]}
    records = [
        synthetic.evaluation("base", 0, metrics),
        synthetic.evaluation("last", 24, metrics, samples_file=name),
    ]
    folder: Path = synthetic.run(records=records, **identity)
    write_samples(folder / "samples-last.jsonl.gz", [sample(item, right=one) for item, one in enumerate(right)])
    return folder


def found(synthetic: Any) -> list[Comparisons]:
    return compare(make_groups(collect([synthetic.root]).runs))


def other(**identity: Any) -> dict[str, Any]:
    return {"method": "egspo", "config_hash": "1b2c3d4e", **identity}


ALL, NONE = [True] * 12, [False] * 12


def test_one_seed_is_mcnemars_test_and_other_seeds_stay_unknown(synthetic: Any) -> None:
    run(synthetic, [True] * 8 + [False] * 4)
    run(synthetic, [False] * 7 + [True] + [False] * 3 + [True], **other())
    ((pair,),) = [one.pairs for one in found(synthetic)]
    # EGSPO comes first: it alone is right once, EGSPO-SA alone 7 times: 2 (1 + 8) / 256.
    assert (pair.only_first, pair.only_second, pair.items) == (1, 7, 12)
    assert pair.p == pair.adjusted == pytest.approx(0.0703125)
    assert pair.difference == pytest.approx(-0.5)
    assert (pair.interval, pair.verdict, pair.is_clear) == (None, "within noise", False)


def test_a_clear_difference_of_one_seed_is_not_called_one_of_methods(synthetic: Any) -> None:
    run(synthetic, ALL)
    run(synthetic, NONE, **other())
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.p == pytest.approx(2 / 2**12)
    assert pair.verdict == "EGSPO-SA above with this seed; other seeds unknown"
    assert not pair.is_clear


def test_items_and_seeds_must_both_tell_the_groups_apart(synthetic: Any) -> None:
    for seed, wrong in enumerate((0, 1, 0)):
        run(synthetic, [False] * wrong + [True] * (12 - wrong), seed=seed)
        run(synthetic, NONE, **other(seed=seed))
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.is_clear
    assert pair.verdict == "EGSPO-SA above"
    table = comparison_table(found(synthetic)[0])
    (text,) = table.supports
    assert text.endswith("adjusted for the number of pairs: EGSPO-SA above EGSPO by 97.2 points.")


def test_seeds_that_disagree_are_noise_however_sure_the_items_are(synthetic: Any) -> None:
    for seed, right in enumerate((ALL, NONE, ALL)):
        run(synthetic, right, seed=seed)
        run(synthetic, NONE, **other(seed=seed))
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.p == pytest.approx(2 / 2**12)
    assert pair.interval is not None
    assert pair.interval.low < 0 < pair.interval.high
    assert pair.verdict == "within noise of the seeds"


def test_three_pairs_are_adjusted_for_three(synthetic: Any) -> None:
    run(synthetic, ALL)
    run(synthetic, NONE, **other())
    run(synthetic, NONE, method="espo", config_hash="2c3d4e5f")
    (one,) = found(synthetic)
    assert len(one.pairs) == 3
    ps = {(pair.first.method, pair.second.method): (pair.p, pair.adjusted) for pair in one.pairs}
    assert ps["egspo", "egspo-sa"] == (pytest.approx(2 / 2**12), pytest.approx(6 / 2**12))
    assert ps["egspo", "espo"] == (1.0, 1.0)


def test_a_pair_that_holds_alone_is_not_called_clear_among_three(synthetic: Any) -> None:
    # Differences of 10, 8 and 6 of 12: mean 8, s = 2, t = 6.93, p = 0.020, and 0.061 for three pairs.
    for seed, right in enumerate((10, 8, 6)):
        run(synthetic, [True] * right + [False] * (12 - right), seed=seed)
        run(synthetic, NONE, **other(seed=seed))
        run(synthetic, NONE, method="espo", config_hash="2c3d4e5f", seed=seed)
    (one,) = found(synthetic)
    pair = next(pair for pair in one.pairs if (pair.first.method, pair.second.method) == ("egspo", "egspo-sa"))
    assert (pair.seed_p, pair.seed_adjusted) == (pytest.approx(0.0202, abs=1e-4), pytest.approx(0.0606, abs=1e-4))
    assert pair.verdict == "EGSPO-SA above as a single pair"
    assert (pair.is_clear, pair.is_clear_alone) == (False, True)
    supports = comparison_table(one).supports
    assert supports[0].startswith("Told apart over seeds only as a single pair: EGSPO-SA above EGSPO by 66.7 points; ")
    assert supports[1] == "Not told apart by items and seeds together: EGSPO and ESPO."


def test_only_shared_seeds_are_compared(synthetic: Any) -> None:
    run(synthetic, ALL, seed=0)
    run(synthetic, ALL, seed=1)
    run(synthetic, NONE, **other(seed=1))
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.seeds == (1,)


def test_no_shared_seed_is_said(synthetic: Any) -> None:
    run(synthetic, ALL, seed=0)
    run(synthetic, NONE, **other(seed=1))
    (one,) = found(synthetic)
    assert (one.pairs[0].p, one.pairs[0].verdict) == (None, "no shared seed")
    assert comparison_table(one).cells[0][2] == "-"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not gzip", "samples cannot be read"),
        (gzip.compress(b"[1]\n", mtime=0), "samples cannot be read"),
        (gzip.compress(b'{"id": "a", "metrics": {}}\n', mtime=0), "samples cannot be read"),
        (
            gzip.compress(b'{"id": "a", "metrics": {"exact_match": {"part": 6, "whole": 11}}}\n', mtime=0),
            "exact match is no verdict",
        ),
        (None, "no samples kept"),
    ],
)
def test_bad_samples_are_a_reason_and_never_break(
    synthetic: Any, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    folder = run(synthetic, ALL)
    run(synthetic, NONE, **other())
    path = folder / "samples-last.jsonl.gz"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.p is None
    assert pair.verdict.startswith(reason)


def test_the_name_of_a_samples_file_leads_nowhere_else(synthetic: Any) -> None:
    folder = run(synthetic, ALL, name="../outside.jsonl.gz")
    run(synthetic, NONE, **other())
    (folder / "samples-last.jsonl.gz").rename(folder.parent / "outside.jsonl.gz")
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.verdict == "no samples kept"


def test_other_items_under_the_same_record_are_not_compared(synthetic: Any) -> None:
    folder = run(synthetic, ALL)
    run(synthetic, NONE, **other())
    write_samples(folder / "samples-last.jsonl.gz", [sample(item + 1, right=True) for item in range(12)])
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.verdict == "items differ"


def test_an_item_twice_is_no_verdict(tmp_path: Path) -> None:
    write_samples(tmp_path / "s.jsonl.gz", [sample(0, right=True), sample(0, right=True)])
    assert read_verdicts(tmp_path / "s.jsonl.gz", "exact_match") == "exact match is no verdict per item"


def test_protocols_are_never_compared_with_each_other(synthetic: Any) -> None:
    run(synthetic, ALL)
    records = [synthetic.evaluation("last", 24, synthetic.metrics(9), decoding={"num_steps": 4})]
    synthetic.run(records=records, **other())
    assert found(synthetic) == []


def test_many_groups_are_compared_with_the_highest_alone(synthetic: Any) -> None:
    for index in range(9):
        right = [True] * (index + 1) + [False] * (11 - index)
        run(synthetic, right, method="egspo", config_hash=f"0000000{index}")
    (one,) = found(synthetic)
    assert one.best_only
    assert len(one.pairs) == 8
    assert {pair.first.config_hash for pair in one.pairs} == {"00000008"}
    assert any("Many groups" in note for note in comparison_table(one).notes)


def test_the_table_is_one_table(synthetic: Any) -> None:
    run(synthetic, ALL)
    run(synthetic, NONE, **other())
    text = markdown(comparison_table(found(synthetic)[0]))
    assert "| EGSPO | EGSPO-SA | -100.0 | 1 | 12 | 0 | 12 | \\<0.001 | \\<0.001 | - | EGSPO-SA above" in text
