"""Reading JSONL files, plain or compressed, whole, torn or damaged; replacing files in one step."""

import contextlib
import errno
import gzip
import json
import os
import resource
import subprocess
import sys

import pytest

from harness.records import jsonl
from harness.records.jsonl import RecordError, read_json_lines, read_lines, read_samples, replacing, write_atomic

LINES = b'{"update": 1}\n{"update": 2}\n'


def test_a_compressed_file_is_read_like_the_plain_one(tmp_path):
    (tmp_path / "plain.jsonl").write_bytes(LINES)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(LINES, mtime=0))
    for name in ("plain.jsonl", "packed.jsonl"):
        assert list(read_lines(tmp_path / name)) == [{"update": 1}, {"update": 2}]


def test_the_plain_file_goes_before_the_compressed_one(tmp_path):
    (tmp_path / "both.jsonl").write_bytes(LINES[:14])
    (tmp_path / "both.jsonl.gz").write_bytes(gzip.compress(LINES, mtime=0))
    assert list(read_lines(tmp_path / "both.jsonl")) == [{"update": 1}]


@pytest.mark.parametrize(
    "damaged", [b"not gzip", gzip.compress(LINES, mtime=0)[:-9], b"\x1f\x8b\x08\x00" + b"\xff" * 40]
)
def test_a_damaged_compressed_file_is_a_record_error_with_its_name(tmp_path, damaged):
    (tmp_path / "a.jsonl.gz").write_bytes(damaged)
    with pytest.raises(RecordError, match=r"a\.jsonl\.gz"):
        list(read_lines(tmp_path / "a.jsonl"))


def test_a_missing_file_has_no_records_and_a_torn_last_line_is_none(tmp_path):
    assert list(read_lines(tmp_path / "none.jsonl")) == []
    (tmp_path / "torn.jsonl").write_bytes(LINES + b'{"update"')
    assert len(list(read_lines(tmp_path / "torn.jsonl"))) == 2


def test_a_line_that_is_not_json_is_named_by_its_number(tmp_path):
    (tmp_path / "bad.jsonl").write_bytes(b"{}\nnonsense\n{}\n")
    with pytest.raises(RecordError, match=r"bad\.jsonl line 2"):
        list(read_lines(tmp_path / "bad.jsonl"))


def test_lines_come_with_their_numbers_and_blank_ones_are_skipped(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n \n[2]')
    assert list(read_json_lines(tmp_path / "a.jsonl")) == [(1, {"a": 1}), (4, [2])]
    assert list(read_json_lines(tmp_path / "a.jsonl", torn_end=True)) == [(1, {"a": 1})]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not UTF-8: invalid start byte at byte 0"),
        (b'"\xed\xa0\x80"', "is not UTF-8"),
        (b'{"a": ["\\ud83d"]}', "holds half a surrogate pair"),
        (b'{"\\uDC00": 1}', "holds half a surrogate pair"),
        (b"[" * 100_000, "is not JSON"),
        (b"9" * 5000, "is not JSON"),
        (b'"' + b"x" * 200 + b'"', "is longer than"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_bad_line_is_named_by_its_number(tmp_path, monkeypatch, line, said, pack):
    monkeypatch.setattr(jsonl, "LONGEST", 100 if said == "is longer than" else jsonl.LONGEST)
    path = tmp_path / ("a.jsonl" if pack is bytes else "a.jsonl.gz")
    path.write_bytes(pack(b"{}\n" + line + b"\n{}\n"))
    with pytest.raises(RecordError) as error:
        list(read_json_lines(path))
    assert f"{path.name} line 2 {said}" in str(error.value)


def test_whole_surrogate_pairs_are_characters(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'"\\ud83d\\ude00"\n')
    assert list(read_json_lines(tmp_path / "a.jsonl")) == [(1, "\U0001f600")]


def test_a_line_without_end_is_read_no_further_than_the_longest(tmp_path):
    with open(tmp_path / "a.jsonl", "wb") as stream:
        stream.truncate(3 << 30)
    code = "import sys, pathlib; from harness.records.jsonl import *; list(read_json_lines(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, tmp_path / "a.jsonl"]

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert "RecordError: a.jsonl line 1 is longer than 16 MiB" in done.stderr


@pytest.mark.parametrize("read", [read_lines, read_samples, lambda path: read_json_lines(path)])
def test_a_pipe_is_refused_before_it_is_opened(tmp_path, read):
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(RecordError, match=r"a\.jsonl is not a regular file"):
        list(read(tmp_path / "a.jsonl"))


def test_a_missing_samples_file_is_a_record_error(tmp_path):
    with pytest.raises(RecordError, match=r"none\.jsonl\.gz cannot be read: No such file"):
        list(read_samples(tmp_path / "none.jsonl.gz"))


def test_a_file_is_replaced_in_one_step_and_only_after_the_last_byte(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as stream:
        stream.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with contextlib.suppress(KeyError), replacing(path) as stream:
        stream.write(b"newer")
        raise KeyError
    assert (path.read_text(), list(tmp_path.iterdir())) == ("new", [path])


@pytest.mark.parametrize("depth", [1, 2])
def test_links_are_written_through(tmp_path, depth):
    real = tmp_path / "elsewhere" / "real.txt"
    real.parent.mkdir()
    real.write_text("old")
    link = real
    for number in range(depth):
        (tmp_path / f"link{number}").symlink_to(link)
        link = tmp_path / f"link{number}"
    write_atomic(link, "new")
    assert link.is_symlink()
    assert (real.read_text(), real.is_symlink()) == ("new", False)
    assert list(real.parent.iterdir()) == [real]


def test_a_link_to_a_file_that_is_yet_to_be_made_makes_it(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new.txt")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "new.txt").read_text() == "new"


def make_loop(path):
    path.symlink_to(path)


def make_link_to_null(path):
    path.symlink_to("/dev/null")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_loop, make_link_to_null], ids=lambda make: make.__name__)
def test_what_is_no_regular_file_is_refused_and_stays(tmp_path, make):
    path = tmp_path / "place"
    make(path)
    before = path.lstat()
    with pytest.raises(RecordError, match="is not a regular file and is left as it is"):
        write_atomic(path, "new")
    after = path.lstat()
    assert (before.st_mode, before.st_ino, list(tmp_path.iterdir())) == (after.st_mode, after.st_ino, [path])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path, monkeypatch, code):
    def full(descriptor):
        raise OSError(code, os.strerror(code))

    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"a\.txt") as error:
        write_atomic(tmp_path / "a.txt", "new")
    assert error.value.errno == code
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_name_as_long_as_a_file_system_allows_is_replaced(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomic(path, json.dumps({}))
    assert path.read_text() == "{}"
