"""Archives of run folders: read as the folders would be, and refused where they hold anything else."""

from __future__ import annotations

import io
import lzma
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import read_runs
from harness.cli.list import list_runs
from harness.cli.report import report
from harness.errors import UserError
from harness.records.run_folder import CONFIG_FILE, EVAL_FILE, STATUS_FILE
from harness.report.read import archives
from harness.report.read.archives import unpacked
from harness.report.read.runs import Run, Skipped, collect, scan


def pack(archive: Path, folder: Path) -> Path:
    """The content of `folder` as an archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, f"w:{archive.suffix[1:]}") as members:
        for path in sorted(folder.iterdir()):
            members.add(path, path.name)
    return archive


def written(archive: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(archive, f"w:{archive.suffix[1:]}") as out:
        for member, content in members:
            out.addfile(member, io.BytesIO(content))
    return archive


def member(name: str, content: bytes = b"{}", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.size = len(content)
    for key, value in changes.items():
        setattr(found, key, value)
    return found, content


def texts(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the temporary folders below it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_report_of_an_archive_is_that_of_its_folders(
    synthetic_below: Callable[[Path], Any], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = synthetic_below(here / "runs" / "study")
    made.demo()
    made.judged([True, False] * 20, method="d1", config_hash="4d5e6f70")
    (made.run(method="espo") / CONFIG_FILE).write_text("{")
    report([Path("runs")], Path("of-folders"))
    (here / "runs").rename(here / "old")
    pack(here / "runs" / "study" / "all.tar.xz", here / "old" / "study")
    report([Path("runs")], Path("of-archive"))
    assert texts(here / "of-folders") == texts(here / "of-archive")
    assert "temporary" not in capsys.readouterr().out


def test_an_archive_is_read_as_its_folders_wherever_it_is_named(synthetic: Any, here: Path) -> None:
    synthetic.run(seed=1)
    synthetic.run(seed=2).rename(synthetic.root / "best")
    packed = pack(here / "kept" / "all.tar.gz", synthetic.root)
    folders, by_name, from_above = (scan([path]) for path in (synthetic.root, packed, here / "kept"))
    names = ["best", "sudoku/egspo-sa/tiny/0a1b2c3d-seed1"]
    assert [[found.name for found in every] for every in (folders, by_name, from_above)] == [names] * 3
    assert [found.evals for found in folders] == [found.evals for found in by_name]
    assert [str(found.shown.relative_to(here)) for found in from_above] == [
        "kept/all.tar.gz/best",
        "kept/all.tar.gz/sudoku/egspo-sa/tiny/0a1b2c3d-seed1",
    ]


def test_an_archive_is_unpacked_once_and_a_changed_one_again(synthetic: Any, here: Path) -> None:
    synthetic.run(seed=1)
    packed = pack(here / "all.tar.xz", synthetic.root)
    first = unpacked(packed)
    assert unpacked(here / "runs" / ".." / "all.tar.xz") == first
    synthetic.run(seed=2)
    assert len(scan([pack(packed, synthetic.root)])) == 2
    assert len(list((here / "temporary").iterdir())) == 2


def test_weights_stay_packed(synthetic: Any, here: Path) -> None:
    weights = synthetic.run() / "checkpoints" / "last"
    weights.mkdir(parents=True)
    (weights / "state.json").write_text("{}")
    (weights.parent.parent / "model.safetensors").write_bytes(b"0" * 100)
    content = unpacked(pack(here / "all.tar.xz", synthetic.root))
    assert {path.name for path in content.rglob("*") if path.is_file()} == {
        CONFIG_FILE,
        EVAL_FILE,
        STATUS_FILE,
        "metrics.jsonl",
    }


def test_a_run_in_an_archive_and_beside_it_counts_once(synthetic: Any, here: Path) -> None:
    synthetic.run()
    pack(here / "all.tar.xz", synthetic.root).rename(synthetic.root / "all.tar.xz")
    found = collect([Path("runs")])
    assert len(found.runs) == 1
    place = "sudoku/egspo-sa/tiny/0a1b2c3d-seed0"
    assert [one.reason for one in found.skipped] == [
        f"runs/{place} has the same configuration and seed as runs/all.tar.xz/{place}, which is counted"
    ]


def test_list_and_data_frames_show_the_place_in_the_archive(
    synthetic: Any, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.run()
    pack(here / "all.tar.xz", synthetic.root)
    list_runs([Path("all.tar.xz")], as_json=True)
    assert f'"folder": "{here}/all.tar.xz/sudoku/egspo-sa/tiny/0a1b2c3d-seed0"' in capsys.readouterr().out
    frames = read_runs("all.tar.xz")
    assert set(frames.metrics["folder"]) == {f"{here}/all.tar.xz/sudoku/egspo-sa/tiny/0a1b2c3d-seed0"}


@pytest.mark.parametrize("command", [report, list_runs, lambda paths: read_runs(paths[0])])
def test_an_archive_that_is_not_there_is_told_of(command: Callable[[list[Path]], object], here: Path) -> None:
    with pytest.raises(UserError, match=r"'none\.tar\.xz' is neither a folder nor an archive of runs \(\.tar\.xz or"):
        command([Path("none.tar.xz")])


def test_report_of_a_file_that_is_no_archive_tells_so(here: Path) -> None:
    Path("notes.tar.xz").write_text("notes")
    with pytest.raises(UserError, match=r"no finished run in 'notes\.tar\.xz': 1 left out, .* it cannot be unpacked"):
        report([Path("notes.tar.xz")], Path("out"))


def torn(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-40])


def turned(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(bytes(content))


def bad_header(archive: Path) -> None:
    """That of the second member, which tarfile takes for the end."""
    written(archive, member("a.json", b""), member("b.json"))
    content = bytearray(lzma.decompress(archive.read_bytes()))
    content[512] ^= 1
    archive.write_bytes(lzma.compress(bytes(content)))


DAMAGE = {
    "torn": (torn, "corrupt: it cannot be unpacked ("),
    "with a turned bit": (turned, "corrupt: it cannot be unpacked ("),
    "with a bad header": (bad_header, "corrupt: it cannot be unpacked (bad header)"),
    "empty": (lambda archive: archive.write_bytes(b""), "corrupt: it cannot be unpacked ("),
    "a link to nothing": (
        lambda archive: (archive.unlink(), archive.symlink_to("nothing")),
        "corrupt: all.tar.xz is a link to a file that does not exist",
    ),
}
HOSTILE = {
    "a path upwards": (member("../out.json"), "'../out.json' in it leads out of it"),
    "a path up and down": (member("a/../out.json"), "'a/../out.json' in it leads out of it"),
    "an absolute path": (member("/out.json"), "'/out.json' in it leads out of it"),
    "a link": (member("a.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is neither a file nor a folder"),
    "a hard link": (member("a.json", b"", type=tarfile.LNKTYPE, linkname="b.json"), "is neither a file nor a folder"),
    "a device": (member("a.json", b"", type=tarfile.CHRTYPE), "is neither a file nor a folder"),
    "a pipe": (member("a.json", b"", type=tarfile.FIFOTYPE), "is neither a file nor a folder"),
    "a long name": (member(f"{'x' * 300}.json"), "it cannot be unpacked (File name too long)"),
    "a file as a folder": (member("one/a.json/b.json"), "it cannot be unpacked (File exists)"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_archive_is_left_out_and_the_run_beside_it_is_read(
    damage: Callable[[Path], object], reason: str, synthetic: Any, here: Path
) -> None:
    folder = synthetic.run()
    damage(pack(synthetic.root / "all.tar.xz", folder.parent))
    skipped, run = scan([synthetic.root])
    assert isinstance(skipped, Skipped)
    assert (skipped.path, skipped.reason[: len(reason)]) == ("all.tar.xz", reason)
    assert isinstance(run, Run)
    assert list((here / "temporary").iterdir()) == []


@pytest.mark.parametrize(("hostile", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_left_out(hostile: tuple[tarfile.TarInfo, bytes], reason: str, here: Path) -> None:
    written(here / "all.tar.gz", member("one/a.json"), hostile)
    (skipped,) = scan([here / "all.tar.gz"])
    assert isinstance(skipped, Skipped)
    assert (skipped.path, reason in skipped.reason) == ("all.tar.gz", True), skipped.reason
    assert sorted(path.name for path in here.iterdir()) == ["all.tar.gz", "temporary"]
    assert list((here / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("MOST_BYTES", "'a.json' in it has 2,000 bytes, and at most 0 GiB are read"),
        ("MOST_UNPACKED", "it holds more than 0 GiB"),
        ("MOST_MEMBERS", "it holds more than 1,000 files and folders"),
        ("AT_ONCE", "it has a header of more than 0 MiB"),
    ],
)
def test_an_archive_above_a_bound_is_left_out(
    limit: str, reason: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, limit, 1000)
    many = [member(f"{number}.txt", b"") for number in range(1001)] if limit == "MOST_MEMBERS" else []
    long_name = [member("x" * 1200, b"")] if limit == "AT_ONCE" else []
    written(here / "all.tar.gz", *many, *long_name, member("a.json", b"0" * 2000))
    (skipped,) = scan([here / "all.tar.gz"])
    assert isinstance(skipped, Skipped)
    assert skipped.reason == f"corrupt: {reason}"
