"""Every measuring script that takes sizes runs to its end at small ones."""

import re
import runpy
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("batching.py --prompts 8 --batch 4 --runs 1", r"anew +[\d.]+ s +[\d,]+ passes of a row  kept / this = [\d.]+"),
        ("sampler.py --shape tiny --textbook-steps 1", r"bare / ours = [\d.]+"),
        ("sampler.py --shape tiny --cache --batch 2 --places 0", r"dual +[\d.]+ s  exact / this = [\d.]+"),
        ("sampler.py --shape tiny --block-cache --batch 2 --places 0", r"with +[\d.]+ s  without / with = [\d.]+"),
        ("update.py --shape tiny --batch 4 --variant ours", r'"norm": [\d.]+'),
    ],
)
def test_a_script_measures_at_a_small_size(command, said, monkeypatch, capsys):
    name, *options = command.split()
    monkeypatch.setattr(sys, "argv", [name, *options])
    runpy.run_path(str(BENCH / name), run_name="__main__")
    out = capsys.readouterr().out
    assert re.search(said, out), out
