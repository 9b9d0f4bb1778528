from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from harness.records.jsonl import write_samples
from harness.report.analysis.comparisons import Comparisons, Outcome, compare
from harness.report.chapters.pairs import verdict


def found(synthetic: Any) -> list[Comparisons]:
    return compare(synthetic.groups())


def other(**identity: Any) -> dict[str, Any]:
    return {"method": "egspo", "config_hash": "1b2c3d4e", **identity}


ALL, NONE = [True] * 12, [False] * 12


def test_one_seed_is_mcnemars_test_and_other_seeds_stay_unknown(synthetic: Any) -> None:
    synthetic.judged([True] * 8 + [False] * 4)
    synthetic.judged([False] * 7 + [True] + [False] * 3 + [True], **other())
    ((pair,),) = [one.pairs for one in found(synthetic)]
    # EGSPO comes first: it alone is right once, EGSPO-SA alone 7 times: 2 (1 + 8) / 256.
    assert (pair.only_first, pair.only_second, pair.items) == (1, 7, 12)
    assert pair.p == pair.adjusted == pytest.approx(0.0703125)
    assert pair.difference == pytest.approx(-0.5)
    assert (pair.interval, verdict(pair), pair.outcome) == (None, "within noise", Outcome.WITHIN_NOISE)


def test_a_clear_difference_of_one_seed_is_not_called_one_of_methods(synthetic: Any) -> None:
    synthetic.judged(ALL)
    synthetic.judged(NONE, **other())
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.p == pytest.approx(2 / 2**12)
    assert verdict(pair) == "EGSPO-SA above with this seed; other seeds unknown"
    assert pair.outcome is Outcome.ONE_SEED


def test_seeds_that_disagree_are_noise_however_sure_the_items_are(synthetic: Any) -> None:
    for seed, right in enumerate((ALL, NONE, ALL)):
        synthetic.judged(right, seed=seed)
        synthetic.judged(NONE, **other(seed=seed))
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.p == pytest.approx(2 / 2**12)
    assert pair.interval is not None
    assert pair.interval.low < 0 < pair.interval.high
    assert verdict(pair) == "within noise between seeds"


def test_three_pairs_are_adjusted_for_three(synthetic: Any) -> None:
    synthetic.judged(ALL)
    synthetic.judged(NONE, **other())
    synthetic.judged(NONE, method="espo", config_hash="2c3d4e5f")
    (one,) = found(synthetic)
    assert len(one.pairs) == 3
    ps = {(pair.first.method, pair.second.method): (pair.p, pair.adjusted) for pair in one.pairs}
    assert ps["egspo", "egspo-sa"] == (pytest.approx(2 / 2**12), pytest.approx(6 / 2**12))
    assert ps["egspo", "espo"] == (1.0, 1.0)


def test_only_shared_seeds_are_compared(synthetic: Any) -> None:
    synthetic.judged(ALL, seed=0)
    synthetic.judged(ALL, seed=1)
    synthetic.judged(NONE, **other(seed=1))
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.seeds == (1,)


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
    folder = synthetic.judged(ALL)
    synthetic.judged(NONE, **other())
    path = folder / "samples-last.jsonl.gz"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.p is None
    assert verdict(pair).startswith(reason)


def test_the_name_of_a_samples_file_leads_nowhere_else(synthetic: Any) -> None:
    folder = synthetic.judged(ALL, name="../outside.jsonl.gz")
    synthetic.judged(NONE, **other())
    (folder / "samples-last.jsonl.gz").rename(folder.parent / "outside.jsonl.gz")
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert verdict(pair) == "no samples kept"


def test_other_items_under_the_same_record_are_not_compared(synthetic: Any) -> None:
    folder = synthetic.judged(ALL)
    synthetic.judged(NONE, **other())
    write_samples(folder / "samples-last.jsonl.gz", synthetic.samples([True] * 13)[1:])
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert verdict(pair) == "items differ"


def test_protocols_are_never_compared_with_each_other(synthetic: Any) -> None:
    synthetic.judged(ALL)
    records = [synthetic.evaluation("last", 24, synthetic.metrics(9), decoding={"num_steps": 4})]
    synthetic.run(records=records, **other())
    assert found(synthetic) == []


def test_items_and_seeds_must_both_tell_the_groups_apart(synthetic: Any) -> None:
    for seed, wrong in enumerate((0, 1, 0)):
        synthetic.judged([False] * wrong + [True] * (12 - wrong), seed=seed)
        synthetic.judged(NONE, **other(seed=seed))
    ((pair,),) = [one.pairs for one in found(synthetic)]
    assert pair.outcome is Outcome.CLEAR
    assert (pair.above.method, pair.below.method) == ("egspo-sa", "egspo")


def test_a_pair_that_holds_alone_is_not_called_clear_among_three(synthetic: Any) -> None:
    # Differences of 10, 8 and 6 of 12: mean 8, s = 2, t = 6.93, p = 0.020, and 0.061 for three pairs.
    for seed, right in enumerate((10, 8, 6)):
        synthetic.judged([True] * right + [False] * (12 - right), seed=seed)
        synthetic.judged(NONE, **other(seed=seed))
        synthetic.judged(NONE, method="espo", config_hash="2c3d4e5f", seed=seed)
    (one,) = found(synthetic)
    pair = next(pair for pair in one.pairs if (pair.first.method, pair.second.method) == ("egspo", "egspo-sa"))
    assert (pair.seed_p, pair.seed_adjusted) == (pytest.approx(0.0202, abs=1e-4), pytest.approx(0.0606, abs=1e-4))
    assert verdict(pair) == "EGSPO-SA above as a single pair"
    assert pair.outcome is Outcome.ALONE


def test_a_pair_is_the_same_from_either_side(synthetic: Any) -> None:
    for seed, right in enumerate((10, 8, 6)):
        synthetic.judged([True] * right + [False] * (12 - right), seed=seed)
        synthetic.judged(NONE, **other(seed=seed))
    ((pair,),) = [one.pairs for one in found(synthetic)]
    turned = pair.seen_from(pair.second)
    assert (pair.first.method, turned.first.method) == ("egspo", "egspo-sa")
    assert (turned.difference, turned.only_first) == (-pair.difference, pair.only_second)
    assert pair.interval is not None
    assert turned.interval is not None
    assert (turned.interval.low, turned.interval.high) == (-pair.interval.high, -pair.interval.low)
    assert (verdict(turned), turned.outcome) == (verdict(pair), pair.outcome)
    assert turned.seen_from(pair.first) == pair


def test_many_groups_are_compared_with_the_highest_alone(synthetic: Any) -> None:
    for index in range(9):
        right = [True] * (index + 1) + [False] * (11 - index)
        synthetic.judged(right, method="egspo", config_hash=f"0000000{index}")
    (one,) = found(synthetic)
    assert one.best_only
    assert len(one.pairs) == 8
    assert {pair.first.config_hash for pair in one.pairs} == {"00000008"}
