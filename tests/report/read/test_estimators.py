"""The table of `harness diagnose` beside runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.report.read.estimators import Estimator, EstimatorsError, read_estimators, variants
from harness.report.read.runs import collect

HEAD = "method,options,baseline,size,order,ends_early,bias,angle_degrees,variance_at_equal_compute\n"
ROWS = (
    "egspo,entropy,rank,1,confidence,false,0.4,25,4.5\n"
    "egspo,entropy,rank,2,confidence,false,0.25,15,10\n"
    "egspo,entropy,rank,2,random,false,0.5,30,36\n"
    "egspo,entropy,rank,2,confidence,true,0.9,40,20\n"
    "wd1,both fitted scale,softmax,0,confidence,false,1.37,87,10.6\n"
)


def test_of_a_methods_rows_the_one_of_its_recipes_variant_counts(tmp_path: Path) -> None:
    (tmp_path / "estimators.csv").write_text(HEAD + ROWS)
    assert read_estimators(tmp_path / "estimators.csv") == (
        Estimator(method="egspo", bias=0.25, angle=15, variance=10),
        Estimator(method="wd1", bias=1.37, angle=87, variance=10.6),
    )


def test_every_method_has_one_variant() -> None:
    assert sorted(variant[0] for variant in variants()) == sorted(registry.names("method"))


@pytest.mark.parametrize("name", ["estimators.csv", "diagnose/estimators.csv"])
def test_the_table_is_found_beside_the_runs(name: str, synthetic: Any) -> None:
    synthetic.run()
    assert collect([synthetic.root]).estimators == ()
    (synthetic.root / "diagnose").mkdir()
    (synthetic.root / name).write_text(HEAD + ROWS)
    assert [one.method for one in collect([synthetic.root]).estimators] == ["egspo", "wd1"]


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n",
        HEAD + ROWS.replace("0.25", "x"),
        HEAD + ROWS.replace("0.25", "nan"),
        HEAD + "egspo,entropy\n",
        "\xff",
    ],
)
def test_a_damaged_table_is_left_out_with_the_reason(content: str, synthetic: Any) -> None:
    synthetic.run()
    (synthetic.root / "estimators.csv").write_text(content, encoding="latin-1")
    if content.startswith(HEAD + "egspo,entropy\n"):  # a short row is that of no variant
        assert read_estimators(synthetic.root / "estimators.csv") == ()
        return
    with pytest.raises(EstimatorsError, match="no table of harness diagnose"):
        read_estimators(synthetic.root / "estimators.csv")
    found = collect([synthetic.root])
    assert (len(found.runs), found.estimators) == (1, ())
    assert found.skipped[0].path.endswith("estimators.csv")
