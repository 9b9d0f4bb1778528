"""Reading JSONL files: plain or compressed, whole, torn or damaged."""

import gzip

import pytest

from harness.records.jsonl import RecordError, read_lines

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
