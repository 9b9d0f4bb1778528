"""Fenced blocks: CommonMark's rules, and each way in which models slip."""

from __future__ import annotations

import pytest

from harness.scoring.blocks import fenced_blocks

CODE = "def f(x):\n    return 2 * x\n"


def read(text: str) -> list[tuple[str, str]]:
    return [(block.language, block.text) for block in fenced_blocks(text)]


@pytest.mark.parametrize(
    ("info", "language"),
    [
        ("python", "python"),
        ("Python3", "python3"),
        (" python", "python"),
        ('python title="a.py" {1,3}', "python"),
        ("python:main.py", "python"),
        ("{.python .numberLines}", "python"),
        ("c++", "c++"),
        ("python-repl", "python-repl"),
    ],
)
def test_the_language_is_the_first_word_after_the_fence(info, language):
    assert read(f"Text.\n```{info}\n{CODE}```\nMore.") == [(language, CODE)]


def test_a_longer_fence_and_one_of_tildes_close_by_their_like():
    assert read(f"````python\n{CODE}```\n````") == [("python", f"{CODE}```\n")]
    assert read(f"~~~python\n{CODE}~~~") == [("python", CODE)]
    assert read("~~~python\nx = ~~~y\n~~~") == [("python", "x = ~~~y\n")]
    assert read("~~~text\n```\n~~~\n") == [("text", "```\n")]


def test_blocks_of_other_languages_close_at_a_fence_of_their_own_line():
    text = f"```bash\npip install x # it's ```\n```\n\n```python\n{CODE}```\n```text\n7\n```"
    assert [language for language, _ in read(text)] == ["bash", "python", "text"]
    assert read(text)[1] == ("python", CODE)


def test_an_open_block_goes_to_the_end_or_to_a_fence_that_names_python():
    assert read(f"```python\n{CODE}") == [("python", CODE)]
    assert read(f"```python\nx\n```python\n{CODE}```") == [("python", "x\n"), ("python", CODE)]
    assert read(f"```bash\npip install x\n```python\n{CODE}```") == [("bash", "pip install x\n"), ("python", CODE)]


@pytest.mark.parametrize("before", ["Here it is: ", "**Answer** ", "Use `x` and ```y``` so: ", "- Text: "])
def test_text_before_an_opening_fence(before):
    assert read(f"{before}```python\n{CODE}```") == [("python", CODE)]


@pytest.mark.parametrize("line", ["`x` and ```f(x)```", "```f(x)```", "a ~~~python", "``python"])
def test_code_spans_open_no_block(line):
    assert read(f"{line}\nmore\n") == []


@pytest.mark.parametrize("end", ["", "\n", " and that is all.\nBye."])
def test_a_closing_fence_at_the_end_of_a_line_of_code(end):
    assert read(f"```python\n{CODE.rstrip()}```{end}")[0] == ("python", CODE.rstrip())


def test_a_fence_at_the_end_of_a_comment_closes_only_what_nothing_else_does():
    assert read("```python\nx = 1  # one```\nText.") == [("python", "x = 1  # one")]
    assert read("```python\n# not here ```\nx\n```\n") == [("python", "# not here ```\nx\n")]


@pytest.mark.parametrize(
    "line",
    [
        '"""Text.\n\n```\nf(1)\n```\n"""',
        "'''\n```python\nf(1)\n```\n'''",
        'r"""\n```\n\\"""\n"""',
        "x = '```' + \"```\"",
        "# write ```python here",
        '"""It\'s\n```\n"""',
    ],
)
def test_fences_in_strings_and_comments_of_python_are_none(line):
    assert read(f"```python\n{line}\n{CODE}```\nText.\n```text\n7\n```") == [
        ("python", f"{line}\n{CODE}"),
        ("text", "7\n"),
    ]


def test_a_string_that_is_never_closed_hides_no_fence():
    assert read('```python\nx = """\n```\nText.\n```\ny\n```') == [("python", 'x = """\n'), ("", "y\n")]
    assert read("```python\nx = 'it\n```\nText") == [("python", "x = 'it\n")]


@pytest.mark.parametrize(
    ("opening", "indent"),
    [("  ```python", "  "), ("1. Text:\n\n   ```python", "   "), ("- ```python", "  "), ("> ```python", "> ")],
)
def test_a_block_in_a_list_or_quotation_loses_what_its_lines_owe_to_it(opening, indent):
    lines = "".join(f"{indent}{line}" for line in CODE.splitlines(keepends=True))
    assert read(f"{opening}\n{lines}{indent}```\nText.") == [("python", CODE)]


def test_what_stands_before_a_first_fence_without_a_language_may_be_the_block_that_it_closes():
    assert read(f"{CODE}```\n") == [("", CODE), ("", "")]
    assert read(f"{CODE.rstrip()}```\nText.")[0] == ("", CODE.rstrip())
    assert read(f"Text.\n```\n{CODE}```") == [("", "Text.\n"), ("", CODE)]
    assert read(f"Text.\n```python\n{CODE}```") == [("python", CODE)]


def test_a_block_of_markdown_is_looked_into():
    assert read(f"````markdown\nText.\n```python\n{CODE}```\n````")[0] == ("python", CODE)


def test_line_ends_of_windows():
    windows = CODE.replace("\n", "\r\n")
    assert read(f"```python\r\n{windows}```\r\n") == [("python", windows)]
    assert read(f"~~~python\r\n{windows}~~~\r\n") == [("python", windows)]
