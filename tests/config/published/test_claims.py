from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import registry
from harness.config.keys import find_keys
from harness.config.published.claims import ANY, Claim, Side, load_claims
from harness.config.recipes import built_in_folder
from harness.errors import UserError

CLAIM: dict[str, Any] = {
    "paper": "Mine",
    "where": "Table 1",
    "says": "Mine ends above diffu-GRPO.",
    "measure": "last",
    "direction": "higher",
    "first": {"method": "mine"},
    "second": {"method": "d1"},
}


def written(folder: Path, **changes: Any) -> Path:
    values = {key: value for key, value in {**CLAIM, **changes}.items() if value is not None}
    (folder / "claims.yaml").write_text(yaml.safe_dump({"mine": values}))
    return folder


def test_the_built_in_claims_name_methods_settings_and_papers_that_there_are() -> None:
    claims = load_claims()
    sides = [side for claim in claims for side in (claim.first, claim.second) if side]
    methods = set(registry.names("method"))
    assert {side.method for side in sides} - {ANY} == methods
    known = {key.name for side in sides if side.set for key in find_keys(side.method)}
    assert {key for side in sides for key in side.set} <= known
    with open(built_in_folder() / "published" / "papers.csv", newline="") as stream:
        papers = {(row["name"], row["arxiv"]) for row in csv.DictReader(stream)}
    assert {(claim.paper, claim.arxiv) for claim in claims if claim.arxiv} <= papers
    assert all(claim.says.endswith(".") and len(claim.says) < 120 for claim in claims)


def test_a_users_file_adds_to_the_built_in_claims(tmp_path: Path) -> None:
    *built_in, own = load_claims(
        [written(tmp_path, second={"method": "d1", "set": {"method.clip": 0.2}}), tmp_path / "x"]
    )
    assert tuple(built_in) == load_claims()
    second = Side(method="d1", set={"method.clip": 0.2})
    assert own == Claim(**{**CLAIM, "name": "mine", "first": Side(method="mine"), "second": second})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measure": "best"}, r"claim 'mine': Unknown mine.measure 'best'.*Choices: chosen, cost"),
        ({"direction": "up"}, r"Unknown mine.direction 'up'.*higher"),
        ({"measure": "cost"}, r"Unknown mine.along ''.*flops_forward"),
        ({"along": "samples"}, r"mine.along=samples is for the measure cost alone; leave it out"),
        ({"second": None}, r"mine.second names the runs .* every measure needs it but position"),
        ({"measure": "position"}, r"mine.second names the runs"),
        ({"says": None, "where": None}, r"claim 'mine', lacks 'where' and 'says'"),
        ({"second": {"name": "d1"}}, r"claim 'mine': Unknown configuration key 'second.name'"),
        ({"second": "d1"}, r"'second' must be a mapping of keys to values, not 'd1'"),
        ({"tasks": [1]}, r"tasks=1 is not text"),
    ],
)
def test_a_claim_that_does_not_fit_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        load_claims([written(tmp_path, **changes)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"- a\n", r"claims\.yaml' must map names to claims, not \['a'\]"),
        (b"a: 1\n", r"claim 'a': a must be a mapping"),
        (b"a: [\n", r"claims\.yaml' is not valid YAML"),
        (b"\xff\xfe\x00", r"claims\.yaml' cannot be read"),
    ],
)
def test_a_file_that_is_no_list_of_claims_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_claims([tmp_path])


def test_a_name_that_there_is_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"control": CLAIM}))
    with pytest.raises(UserError, match="names the claim 'control', which there is already; rename it"):
        load_claims([tmp_path])
