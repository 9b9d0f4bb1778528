"""Stored answers: nothing is lost by a kill, nothing is taken for what it is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.evaluation.store import AnswerStore, answer_key

IDENTITY = {"weights": "a1", "dtype": "float32"}


def test_the_key_holds_identity_and_request():
    key = answer_key(IDENTITY, {"prompt": (1, 2)})
    assert key == answer_key({"dtype": "float32", "weights": "a1"}, {"prompt": [1, 2]})
    assert key != answer_key(IDENTITY, {"prompt": (1, 2, 3)})
    assert key != answer_key({**IDENTITY, "weights": "a2"}, {"prompt": (1, 2)})
    assert key != answer_key({}, {**IDENTITY, "prompt": (1, 2)})


def test_answers_come_back_and_those_of_other_processes_too(tmp_path):
    first, second = AnswerStore(tmp_path, process=0), AnswerStore(tmp_path, process=1)
    first.add("k1", {"text": "eins\n"})
    second.add("k2", {"text": "zwei"})
    first.close()
    second.close()
    again = AnswerStore(tmp_path)
    assert len(again) == 2
    assert again["k1"] == {"text": "eins\n"}
    assert "k2" in again
    assert "k3" not in again


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = AnswerStore(None)
    store.add("k", {"text": "x"})
    assert store["k"] == {"text": "x"}
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40)
@given(answers=st.lists(st.text(max_size=20), min_size=1, max_size=4), cut=st.integers(0, 200))
def test_a_kill_at_any_byte_loses_the_last_answer_alone(tmp_path_factory, answers, cut):
    folder = tmp_path_factory.mktemp("cache")
    store = AnswerStore(folder)
    for number, text in enumerate(answers):
        store.add(f"k{number}", {"text": text})
    store.close()
    path = folder / "answers-0.jsonl"
    content = path.read_bytes()
    kept = content[: max(0, len(content) - cut)]
    path.write_bytes(kept)

    again = AnswerStore(folder)
    whole = kept.count(b"\n")
    assert [f"k{number}" in again for number in range(len(answers))] == [n < whole for n in range(len(answers))]
    again.add("new", {"text": "after"})
    again.close()
    last = AnswerStore(folder)
    assert len(last) == whole + 1
    assert last["new"] == {"text": "after"}
    last.close()


def test_two_evaluations_do_not_write_into_one_file(tmp_path):
    store = AnswerStore(tmp_path)
    with pytest.raises(UserError, match="is in use by another evaluation"):
        AnswerStore(tmp_path)
    store.close()
    AnswerStore(tmp_path).close()


def test_a_line_damaged_in_the_middle_is_said_and_not_skipped(tmp_path):
    (tmp_path / "answers-0.jsonl").write_text('{"key": "k"}\n')
    with pytest.raises(UserError, match=r"answers-0.jsonl' are damaged"):
        AnswerStore(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Choose another cache=DIR"):
        AnswerStore(tmp_path / "file" / "cache")
