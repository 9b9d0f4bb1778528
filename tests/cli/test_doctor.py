"""harness doctor: what it finds in order, and what it says where something is missing."""

from __future__ import annotations

import platform

import pytest

from harness.app import doctor
from harness.cli.main import main
from harness.scoring.sandbox import bubblewrap
from harness.scoring.sandbox.client import missing, open_sandbox


def test_bubblewrap_that_is_not_installed_is_named_with_the_command(monkeypatch, capsys):
    monkeypatch.setattr(bubblewrap, "find", lambda: None)
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "apt-get install bubblewrap" in shown
    assert "1 to fix; everything else works." in shown


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
def test_a_whole_machine_has_nothing_to_do(monkeypatch, capsys):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "Nothing is missing." in shown
    assert "sandbox" in shown


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@pytest.mark.parametrize(
    ("nests", "numbers", "said"),
    [
        (True, (0, 8, 0), "works; a program has a tmpfs of 32 MB and 1,000 files for itself"),
        (False, (0, 8, 0), "works; a program's files are bounded to 32 MB but not in number"),
        (False, (0, 5, 1), "works; programs cannot write files (that takes bubblewrap 0.7 or newer)"),
    ],
)
def test_what_bounds_a_program_s_files_is_said(monkeypatch, capsys, nests, numbers, said):
    monkeypatch.setattr(doctor, "PACKAGES", ())
    open_sandbox()
    monkeypatch.setattr(bubblewrap, "nests", lambda bwrap: nests)
    monkeypatch.setattr(bubblewrap, "version", lambda bwrap: numbers)
    main(["doctor"])
    assert said in " ".join(capsys.readouterr().out.split())


def test_a_data_folder_that_is_gone_and_a_missing_package_are_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "gone"))
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package-here",))
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "pip install no-such-package-here" in shown
    assert "is not a folder" in shown


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("Linux", "Linux 6.1"),
        ("Darwin", "all is expected to work but model-written code (MBPP, HumanEval)"),
        ("Windows", "use WSL 2, which is Linux"),
    ],
)
def test_what_works_on_other_systems_is_said(monkeypatch, capsys, system, said):
    monkeypatch.setattr(doctor, "PACKAGES", ())
    monkeypatch.setattr(platform, "release", lambda: "6.1")
    monkeypatch.setattr(platform, "system", lambda: system)
    # Where it is not Linux, bubblewrap is missing; here that is enough to look no further.
    monkeypatch.setattr(bubblewrap, "find", lambda: None)
    assert main(["doctor"]) == 1
    assert said in " ".join(capsys.readouterr().out.replace("│", " ").split())
