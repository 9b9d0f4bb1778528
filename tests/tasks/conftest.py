"""Folders of real data, outside the repository; what needs one is skipped where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def existing_folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, Path(__file__).parents[2].parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no folder '{folder}'; set {variable}")
    return folder


@pytest.fixture
def data_folder() -> Path:
    return existing_folder("HARNESS_DATA", "data")


@pytest.fixture
def golden_folder() -> Path:
    return existing_folder("HARNESS_GOLDEN", "golden")
