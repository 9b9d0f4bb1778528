"""Large JSON documents one element at a time, and what is refused."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import documents
from harness.records.documents import read_document
from harness.records.jsonl import RecordError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(content=st.lists(JSON) | st.dictionaries(st.text(st.characters(codec="utf-8")), JSON), chunk=st.integers(1, 40))
def test_every_document_gives_its_elements_whatever_the_size_of_the_chunks(tmp_path_factory, content, chunk):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content, indent=chunk % 3 or None, ensure_ascii=bool(chunk % 2)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "CHUNK", chunk)
        read = list(read_document(path))
    assert read == (list(content.items()) if isinstance(content, dict) else [("", value) for value in content])


def test_the_elements_of_the_list_inside_come_in_its_place(tmp_path):
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b'{"m": {"n": [1]}, "rows": [12, {"b": 3}], "z": []}'))
    read = list(read_document(tmp_path / "a.json.gz", inside="rows"))
    assert read == [("m", {"n": [1]}), ("", 12), ("", {"b": 3}), ("z", [])]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "after row 0: it is neither a list nor an object"),
        (b"7", "it is neither a list nor an object"),
        (b"[1, 2", "after row 2: ',' is expected and '' found"),
        (b"[1 2]", "after row 1: ',' is expected and '2' found"),
        (b'[{"a": 1}, {"a"', "after row 1: not JSON"),
        (b'["' + b"x" * 100, "after row 0: not JSON (Unterminated string"),
        (b"[falr91e" + b" " * 100, "after row 0: not JSON (Expecting value"),
        (b'{"a": 1, b: 2}', "a name in quotation marks is expected"),
        (b'{"a" 1}', "':' is expected"),
        (b'{"a": 1}\n{"a": 2}\n', "a file of one JSON value per line is called .jsonl"),
        (b"[" * 100_000, "recursion"),
        (b"[" + b"9" * 5000 + b"]", "Exceeds the limit"),
        (b'["\\ud83d"]', "half a surrogate pair"),
        (b'["a", "\xff"]', "is not UTF-8"),
    ],
)
def test_damage_is_named_with_the_file_and_the_row(tmp_path, content, said):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RecordError) as error:
        list(read_document(tmp_path / "a.json"))
    assert str(error.value).startswith("a.json ")
    assert said in str(error.value)


@pytest.mark.parametrize(
    "content", [b'{"a": "%s"}' % (b"x" * 5000), b"[[%s1]]" % (b"1," * 3000), b'["%s' % (b"x" * 5000)]
)
def test_a_value_that_is_too_long_is_refused_where_it_stands(tmp_path, monkeypatch, content):
    monkeypatch.setattr(documents, "LONGEST", 4096)
    monkeypatch.setattr(documents, "CHUNK", 64)
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RecordError, match=r"a\.json is damaged after row 0: a value is longer than"):
        list(read_document(tmp_path / "a.json"))


@pytest.mark.parametrize("form", ['"{}"', "[{}]"])
def test_memory_is_bounded_by_the_longest_value_that_is_read(tmp_path, monkeypatch, form):
    monkeypatch.setattr(documents, "LONGEST", 1 << 18)
    monkeypatch.setattr(documents, "CHUNK", 1 << 12)
    (tmp_path / "a.json").write_text(f'{{"a": {form.format("7" * (1 << 24))}}}')
    tracemalloc.start()
    with pytest.raises(RecordError):
        list(read_document(tmp_path / "a.json"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 22
