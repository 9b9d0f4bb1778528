"""Texts read from other people's Python files: what is found, what stands for an expression, what is refused."""

from __future__ import annotations

import pytest

from harness.data.python_text import read_text
from harness.errors import UserError

SOURCE = '''
import torch
raise SystemExit("this file was run")

PLAIN = "Say it." """
 In two lines.
"""
BRACES = "\\\\boxed{} {name} {{name}} {a b}"
SUM = (
    "one"
    + PLAIN
)
OWN = "x" + OWN
LATER: str = "later"


def make(SUM):
    first = f"{SUM}: {x['numbers']} and {{kept}}"
    return {"role": "user", "content": f"{PLAIN}{x['question'].strip()}"}, dict(content="second", other=3)


class Dataset:
    def get(self):
        row["prompt"] = f"{self.start} {n:d}"
        shouted = f"{name!r}"
        return call(1)
'''


@pytest.fixture
def read(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "texts.py").write_text(SOURCE)

    def read(place):
        return read_text(tmp_path, f"code/texts.py: {place}", {})

    return read


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("PLAIN", "Say it.\n In two lines.\n"),
        ("SUM", "oneSay it.\n In two lines.\n"),
        ("LATER", "later"),
        ("make.content[1]", "second"),
    ],
)
def test_constants_sums_and_keywords_are_read_and_nothing_is_run(read, place, text):
    assert read(place) == text


def test_names_in_braces_are_doubled_and_other_braces_stay(read):
    assert read("BRACES") == "\\boxed{} {{name}} {{{name}}} {a b}"


def test_a_name_in_braces_that_stands_for_a_field_is_one(tmp_path):
    (tmp_path / "a.py").write_text("A = '{problem} \\\\boxed{answer}'")
    assert read_text(tmp_path, "a.py: A", {"{problem}": "{question}"}) == "{question} \\boxed{{answer}}"


def test_an_f_string_has_the_constants_of_its_file_and_the_fields_that_are_given(tmp_path, read):
    fields = {"x['numbers']": "{numbers}", "x['question'].strip()": "{question}"}
    path = "code/texts.py: make"
    assert read_text(tmp_path, f"{path}.first", fields) == "oneSay it.\n In two lines.\n: {numbers} and {{kept}}"
    assert read_text(tmp_path, f"{path}.content", fields) == "Say it.\n In two lines.\n{question}"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("NONE", "has no text 'NONE'; is it another version?"),
        ("make", "has no text 'make'"),
        ("make.content[2]", r"has no text 'make.content\[2\]'"),
        ("Dataset.get.nothing", "has no text 'Dataset.get.nothing'"),
        ("make.first", r"the value of 'x\['numbers'\]' is not known"),
        ("Dataset.get.prompt", "the value of 'self.start' is not known"),
        ("Dataset.get.shouted", "is not known; is it another version"),
        ("OWN", "nested too deeply"),
        ("PLAIN; import os", "does not name a text as FILE.py: NAME does"),
    ],
)
def test_what_is_not_a_text_is_refused_in_one_sentence(read, place, said):
    with pytest.raises(UserError, match=said):
        read(place)


def test_a_format_is_not_taken_for_the_value(tmp_path, read):
    with pytest.raises(UserError, match="is not known"):
        read_text(tmp_path, "code/texts.py: Dataset.get.prompt", {"self.start": "a", "n": "{target}"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"A = (", "cannot be read as Python"),
        (b"A = '\xff'", "cannot be read as Python"),
        (b"A = " + b"(" * 5000, "cannot be read as Python"),
        (b"A = '" + b"x" * (1 << 20) + b"'", "cannot be read: it has 1,048,582 bytes, and at most 1,048,576"),
        (b"A = '" + b"x" * 70_000 + b"'", "the text has more than 65,536 characters"),
        (
            b"\n".join(b"A%d = A%d + A%d" % (n, n + 1, n + 1) for n in range(60)) + b"\nA60 = 'x'\nA = A0",
            "more than 65,536",
        ),
        (b"A = 'x'" + b" + 'x'" * 20_000, "nested too deeply|cannot be read as Python"),
    ],
)
def test_a_hostile_file_is_refused_in_one_sentence(tmp_path, content, said):
    (tmp_path / "a.py").write_bytes(content)
    with pytest.raises(UserError, match=said) as raised:
        read_text(tmp_path, "a.py: A", {})
    assert len(str(raised.value)) < 400


def test_constants_that_multiply_are_read_once_each(tmp_path):
    lines = [f"A{n} = A{n + 1} + A{n + 1} + A{n + 1}" for n in range(60)]
    (tmp_path / "a.py").write_text("\n".join([*lines, "A60 = ''", "A = A0"]))
    assert read_text(tmp_path, "a.py: A", {}) == ""


def test_a_file_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "clone").mkdir()
    (tmp_path / "secret.py").write_text("A = 'secret'")
    (tmp_path / "clone" / "link.py").symlink_to(tmp_path / "secret.py")
    for file in ("../secret.py", "link.py"):
        with pytest.raises(UserError, match="leads out of"):
            read_text(tmp_path / "clone", f"{file}: A", {})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.py' cannot be read: No such file"):
        read_text(tmp_path, "gone.py: A", {})
