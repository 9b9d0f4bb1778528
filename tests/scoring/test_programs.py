"""The program that the robust grader reads, and what it says where it reads none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.registry import get_task
from harness.scoring.code import first_block
from harness.scoring.programs import LONGEST_PARSED, Reading, defined_names, is_python, read_program
from harness.scoring.sandbox.client import missing
from harness.task.base import OFFICIAL, ROBUST, TaskOptions

CODE = "def f(x):\n    return 2 * x\n"
BLOCK = f"```python\n{CODE}```"
needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def read(text: str, *, bare: bool = False) -> Reading:
    return read_program(text, bare=bare, completes=lambda code: "f" in defined_names(code))


READ = {
    "in an answer": f"<answer>\n{BLOCK}\n</answer>",
    "without an answer": f"Text.\n{BLOCK}\nText.",
    "after a block for the shell": f"```bash\npip install x\n```\n{BLOCK}",
    "before what it prints": f"{BLOCK}\nIt prints\n```\n14\n```",
    "before how it is used": f"{BLOCK}\nUsage:\n```python\nprint(f(7))\n```",
    "before its tests in doctest's form": f"{BLOCK}\n```\n>>> f(7)\n14\n```",
    "between two others": f"```sh\nls\n```\n{BLOCK}\n```python\nassert f(1) == 2\n```",
    "the last of two that define it": f"```python\ndef f(x): pass\n```\n{BLOCK}",
    "before one cut short": f"{BLOCK}\nOnce more:\n```python\ndef f(x):\n    return (2 *",
    "never closed": f"```python\n{CODE}",
    "never closed inside an answer": f"<answer>\n```python\n{CODE}</answer>",
    "closed and never opened": f"{CODE}```\nText about it.",
    "closed on a line of code": f"<answer>```python\n{CODE.rstrip()}```</answer>",
    "closed and never opened, on a line of code": f"<answer>{CODE.rstrip()}```</answer>",
    "opened on a line of text": f"Here it is: ```python\n{CODE}```",
    "with attributes": f'```python title="a.py" linenums="1"\n{CODE}```',
    "without a language": f"```\n{CODE}```",
    "with tildes": f"~~~py\n{CODE}~~~",
    "in a list": "1. So:\n   ```python\n   def f(x):\n       return 2 * x\n   ```",
    "indented more than its fence": "Here: ```python\n   def f(x):\n       return 2 * x\n```",
    "plain in an answer": f"<answer>{CODE}</answer>",
    "in a block of Markdown": f"```markdown\n{BLOCK}\n```",
    "before the end token": f"{BLOCK}<|eot_id|>\n```python\ndef f(x): pass\n```",
    "in the last of two answers": f"<answer>```python\ndef f(x): pass\n```</answer><answer>{BLOCK}</answer>",
}


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_a_program_is_read(text):
    code = read(text).code
    assert code is not None
    assert code.strip() == CODE.strip()


@pytest.mark.parametrize(
    "code",
    [
        f'{CODE}\ndef g():\n    """Text.\n\n    ```\n    g()\n    ```\n    """\n',
        f'def g():\n    """\n```python\ndef f(x): pass\n```\n    """\n{CODE}',
        f"TEXT = '''```'''\n{CODE}",
    ],
)
@pytest.mark.parametrize("form", ["```python\n{}```", "<answer>{}</answer>", "```python\n{}"])
def test_fences_in_docstrings_cut_nothing_off(code, form):
    assert read(form.format(code)).code == code


def test_a_plain_text_is_a_program_only_where_that_is_asked_for_and_where_it_is_python():
    assert read(CODE, bare=True).code == CODE
    assert read(CODE).code is None
    assert read(f"[BEGIN]\n{CODE}[DONE]\nText: it's", bare=True).code == f"\n{CODE}"
    assert read("The function doubles x.", bare=True).code is None


def test_without_a_definition_the_last_python_block_runs_so_that_the_verdict_says_what_is_missing():
    assert read("```python\nexec(TEXT)\n```\n```\n7 apples\n```").code == "exec(TEXT)\n"
    assert read("```python\ndef f(x) 2\n```").code == "def f(x) 2\n"
    assert read("```\ng = 7\n```").code == "g = 7\n"
    assert read("<answer>lambda x: 2</answer>").code == "lambda x: 2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the completion is empty"),
        ("<answer> </answer>", "the answer block is empty"),
        ("<answer>It is done.</answer>", "the answer block is not Python"),
        (f"{BLOCK}\n<answer>See above.</answer>", "in the last answer block; what stands outside it does not count"),
        (f"<answer>{BLOCK}</answer> <answer>so it is</answer>", "in the last answer block"),
        (f"It is<|eot_id|>\n{BLOCK}", "before the end token; what follows it does not count"),
        (f"<|im_end|>{BLOCK}", "before the end token"),
        ("<|im_end|>", "no code block and no answer block"),
        ("```java\nint f;\n```\n```bash\nls\n```", "the code blocks are bash, java"),
        (CODE, "no code block and no answer block"),
        ("`f(x)`", "no code block and no answer block"),
        ("```python\n```", "no code block holds Python"),
        ("```\n7 apples\n```", "no code block holds Python"),
    ],
)
def test_where_there_is_no_program_the_reason_says_why(text, reason):
    reading = read(text)
    assert reading.code is None
    assert reading.reason.startswith("no program")
    assert reason in reading.reason
    assert read("It is done.", bare=True).reason.endswith("the text itself is not Python")


PIECES = st.sampled_from(
    ["```python\n", "```", "\n", "<answer>", "</answer>", CODE, "x = 1\n", '"""', "text ", "```bash\n", "<|eot_id|>"]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_where_the_official_grader_reads_a_program_the_robust_one_reads_one_or_says_why_not(text):
    reading = read(text)
    if first_block(text) is not None:
        assert reading.code is not None or reading.reason.startswith("no program")
        assert reading.reason != "no program: no code block and no answer block"
    assert (reading.code is None) == bool(reading.reason)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f(): pass\nasync def g(): pass\nclass C:\n    def h(self): pass", {"f", "g", "C"}),
        ("f = lambda y: 1\na, (b, *c) = x\nd: int = 1", {"f", "a", "b", "c", "d"}),
        ("from m import f\nimport n.o, p as q", {"f", "n", "q"}),
        ("if x:\n    def f(): pass\nelse:\n    from m import g\nfor i in y: pass", {"f", "g", "i"}),
        ("[a for a in b]\nprint(f)\nf[0] = 1", set()),
        ("def f(: pass", set()),
    ],
)
def test_defined_names_are_those_of_the_outermost_scope(code, names):
    assert defined_names(code) == names


@pytest.mark.parametrize("code", ["(" * 5000, "-" * 20_000 + "1", "a" + ".b" * 10_000, "\0", "\ud800", "x=" * 9000])
def test_text_that_breaks_the_parser_is_no_python(code):
    assert not is_python(code)


def test_a_text_too_long_to_be_parsed_is_read_and_left_to_the_sandbox():
    code = CODE + "#" * LONGEST_PARSED + "\n"
    assert read(f"```python\n{code}```").code == code
    assert read(code, bare=True).code == code


HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'import math\nfrom typing import List\n\n\ndef area(sides: List[int]) -> int:\n    """Product."""\n',
    "entry_point": "area",
    "test": "def check(candidate):\n    assert candidate([2, 3]) == 6\n",
}
BODY = "    return math.prod(sides)\n"
WHOLE = f"def area(sides: List[int]) -> int:\n{BODY}"
NEXT = "\n\ndef other():\n    pass\n"


@needs_sandbox
@pytest.mark.parametrize(
    "text",
    [
        BODY,
        f"{BODY}{NEXT}",
        HUMANEVAL["prompt"] + BODY,
        f"```python\n{BODY}```",
        f"{BODY}```\nText.\n```python\nprint(area([1]))\n```",
        f"```python\n{WHOLE}```",
        f"```python\nimport math\nfrom typing import List\n{WHOLE}```",
        f"```python\nfrom __future__ import annotations\n{WHOLE}```",
        f"```python\n{WHOLE}```\nSo:\n```python\nprint(area([1]))\n```",
    ],
)
def test_humaneval_reads_bodies_and_whole_programs_and_adds_the_prompt_s_imports(text):
    task = get_task("humaneval")(TaskOptions(bare_answers=True))
    (score,) = task.score([task.read_row(HUMANEVAL)], [text])
    assert score.verdicts[ROBUST].correct, score.verdicts[ROBUST].reason


@needs_sandbox
def test_humaneval_s_official_grader_adds_nothing():
    task = get_task("humaneval")()
    plain = WHOLE.replace(": List[int]", "")
    texts = [f"```python\n{plain}```", f"```python\nimport math\n{plain}```"]
    scores = task.score([task.read_row(HUMANEVAL)] * 2, texts)
    assert [score.verdicts[OFFICIAL].correct for score in scores] == [False, True]


@needs_sandbox
@pytest.mark.parametrize(
    "text", ["return math.prod(sides)\n", "    return (math.prod(\n", "    return len(sides)\n", "print(1)\n"]
)
def test_humaneval_refuses_what_is_no_body_and_wrong_ones(text):
    task = get_task("humaneval")(TaskOptions(bare_answers=True))
    (score,) = task.score([task.read_row(HUMANEVAL)], [text])
    assert not score.correct
    assert score.verdicts[ROBUST].reason
