"""Prompts files and worked examples: what is replaced, what stays, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.errors import UserError
from harness.task.base import TaskOptions
from harness.task.prompts import read_prompts, set_prompts
from harness.task.template import Prompting, fill, mistakes, with_shots

KNOWN = ("question", "numbers")
SYSTEM = {"role": "system", "content": "Be brief."}
PREFILL = {"role": "assistant", "content": "<reasoning>"}
EXAMPLES = {
    "gsm8k": ["12"],
    "math500": ["\\frac{1}{2}"],
    "countdown": [[[3, 4, 5], 17]],
}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def filled(text: str, **values: str) -> str:
    return fill([user(text)], {"question": "Q", **values})[0]["content"]


def write(tmp_path, tree):
    path = tmp_path / "prompts.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def read(tmp_path, tree):
    return read_prompts(write(tmp_path, tree), registry.names("task"))


def task(name: str):
    return registry.get_task(name)(TaskOptions())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{question}?", "Q?"),
        ("{question}{question}", "QQ"),
        ("{{question}}", "{question}"),
        ("\\boxed{} \\frac{a}{b} {x y} {0} {", "\\boxed{} \\frac{a}{b} {x y} {0} {"),
        ("{Question}", "{Question}"),
    ],
)
def test_known_names_are_replaced_and_other_braces_stay(text, shown):
    assert filled(text) == shown


def test_braces_in_a_value_are_not_read_again():
    assert filled("{question} {numbers}", question="{numbers}", numbers="1") == "{numbers} 1"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{quesion}", ["quesion"]),
        ("a {x}.", ["x"]),
        ("\\frac{a}{b} f{x} {{y}} {z w} {}", []),
        ("{question} {numbers}", []),
    ],
)
def test_a_name_alone_in_braces_is_a_mistake_and_latex_is_not(text, found):
    assert mistakes(text, KNOWN) == found


@given(st.text(alphabet="{}abq \\$", max_size=60))
def test_texts_without_a_known_name_are_kept_letter_by_letter_but_for_doubled_names(text):
    assert filled(text).count("Q") == 0
    if "{{" not in text:
        assert filled(text) == text


def test_a_file_gives_each_task_its_messages_and_the_hash_of_its_bytes(tmp_path):
    found = read(tmp_path, {"gsm8k": [SYSTEM, user("{question}")], "sudoku": [user("{puzzle}")]})
    assert found.template(task("gsm8k")) == (SYSTEM, user("{question}"))
    assert len(found.sha256) == 64
    assert read(tmp_path, {"gsm8k": [user("{question} ")]}).sha256 != found.sha256


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ("[1]", "must map tasks to lists"),
        ("", "must map tasks to lists"),
        ("a: [", "is not YAML"),
        ({"gsm8q": [user("{question}")]}, "Unknown task in .* 'gsm8q'. Did you mean 'gsm8k'"),
        ({"gsm8k": "{question}"}, "stands where a list of chat messages is needed"),
        ({"gsm8k": []}, "gsm8k: the list of chat messages is empty"),
        ({"gsm8k": [{"role": "user"}]}, r"a chat message is .* and nothing more"),
        ({"gsm8k": [{"role": "usr", "content": "x"}]}, "Did you mean 'user'"),
        ({"gsm8k": [{"role": "user", "content": 3}]}, "a message's content is 3; it must be a text"),
        ({"gsm8k": [user("{question}"), SYSTEM]}, "last message must be the user's"),
        ({"gsm8k": [PREFILL]}, "last message must be the user's, before an assistant's that begins the answer"),
        ({"gsm8k": [user("{question}"), PREFILL, PREFILL]}, "last message must be the user's"),
        ({"gsm8k": {"training": [user("{question}")]}}, "one list of messages, or two under evaluation and training"),
        ({"gsm8k": {"training": [], "evaluation": []}}, "gsm8k, evaluation: the list of chat messages is empty"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, tree, said):
    with pytest.raises(UserError, match=said):
        read(tmp_path, tree)


def bomb(first: str, link: str) -> str:
    """Nine lines, each of nine aliases of the line before."""
    links = [f"a{n}: &a{n} {link.format(','.join([f'*a{n - 1}'] * 9))}" for n in range(1, 10)]
    return "\n".join([f"a0: &a0 {first}", *links, "gsm8k: *a9"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb("[x]", "[{}]"), "is not YAML: its aliases unfold to more than 100,000 values"),
        (bomb("{k: v}", "{{<<: [{}]}}"), "is not YAML: its aliases unfold to more than 100,000 values"),
        ("gsm8k: &a [*a]", "is not YAML: its aliases unfold to more than 100,000 values"),
        ("gsm8k: " + "9" * 5000, "it holds a number of 5,000 characters"),
        ("gsm8k: 2001-99-99", "is not YAML: month must be in 1"),
        ("gsm8k: !!int ''", "is not YAML: string index out of range"),
        ("gsm8k: !!bool x", "is not YAML: 'x'"),
        ("gsm8k: !!timestamp x", "is not YAML: 'NoneType' object"),
        ("gsm8k: !!python/object/apply:os.system [id]", "is not YAML: could not determine a constructor"),
        ("[" * 5000, "is not YAML: it is nested more than 50 levels deep"),
        ("? [a]\n: b", "is not YAML: found unhashable key, line 1"),
        ("a: b\n---\nc: d", "is not YAML: but found another document, line 2"),
        ("gsm8k: a\0", "is not YAML: unacceptable character"),
        ("x" * 300_000, "cannot be read: it has 300,000 bytes, and at most 262,144 are read"),
        ("? " + "x" * 9999 + "\n: 1", r"Unknown task in .* 'x{40}'\. Choices"),
        ('gsm8k: [{role: user, content: "\\ud800"}]', "holds half a surrogate pair"),
        (
            "gsm8k: [{role: user, content: [" + "x, " * 999 + "]}]",
            r'a message\'s content is \["x", .{34}; it must be',
        ),
        ("gsm8k: [{role: " + "x" * 9999 + ", content: y}]", r"Unknown role in .* 'x{40}'"),
        ("gsm8k: [{role: user, content: 2001-01-01}]", 'a message\'s content is "2001-01-01"; it must be a text'),
    ],
)
def test_a_hostile_file_is_refused_in_one_sentence(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as raised:
        read(tmp_path, text)
    assert len(str(raised.value)) < 500


def test_messages_may_be_shared_by_an_alias(tmp_path):
    found = read(tmp_path, "gsm8k: &both [{role: user, content: '{question}'}]\nmath500: *both")
    assert found.template(task("math500")) == found.template(task("gsm8k")) == (user("{question}"),)


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_regular_file_is_refused(tmp_path, make):
    make(tmp_path / "prompts.yaml")
    with pytest.raises(UserError, match=r"prompts\.yaml' cannot be read: it is not a regular file"):
        read_prompts(tmp_path / "prompts.yaml", ["gsm8k"])


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "prompts.yaml").write_bytes(b"gsm8k: \xff\xfe")
    with pytest.raises(UserError, match="is not YAML: 'utf-8' codec can't decode"):
        read_prompts(tmp_path / "prompts.yaml", ["gsm8k"])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_prompts(tmp_path / "none.yaml", ["gsm8k"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{quesion}", "Unknown placeholder of countdown .* 'quesion'.*Did you mean 'question'"),
        ("Solve it.", r"shows nothing of the item; use \{question\}, \{numbers\}, \{target\}"),
        ("{{question}}", "shows nothing of the item"),
        ("{question} {answer}", "Unknown placeholder of countdown .* 'answer'"),
    ],
)
def test_a_template_has_to_show_the_item_and_nothing_unknown(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        read(tmp_path, {"countdown": [user(text)]}).template(task("countdown"))


def test_a_task_that_the_file_leaves_out_is_named(tmp_path):
    with pytest.raises(UserError, match="has no prompt for 'sudoku'; it has: gsm8k"):
        read(tmp_path, {"gsm8k": [user("{question}")]}).template(task("sudoku"))


@pytest.mark.parametrize("name", ["gsm8k", "math500", "mbpp", "humaneval", "sudoku", "countdown"])
def test_no_placeholder_of_any_task_is_its_answer(name):
    assert not {"answer", "solution", "code", "canonical_solution"} & set(registry.get_task(name).prompt_fields)


def test_the_user_s_prompt_takes_the_place_of_the_task_s(tmp_path):
    chosen = task("countdown")
    example = chosen.example_for("", [[3, 4, 5], 17])
    file = read(tmp_path, {"countdown": [SYSTEM, user("{numbers} to {target}")]})
    set_prompts(chosen, file, [], 0)
    assert chosen.messages(example) == [SYSTEM, user("[3, 4, 5] to 17")]
    assert task("countdown").messages(example) == task("countdown").prompt(example)


def test_training_examples_are_shown_the_prompt_of_training_where_it_is_another(tmp_path):
    chosen = task("countdown")
    example = chosen.example_for("", [[3, 4, 5], 17])
    two = {"evaluation": [user("{numbers}"), PREFILL], "training": [user("{target}")]}
    (training,) = set_prompts(chosen, read(tmp_path, {"countdown": two}), [example], 0)
    assert chosen.messages(training) == [user("17")]
    assert chosen.messages(example) == [user("[3, 4, 5]"), PREFILL]
    (same,) = set_prompts(chosen, read(tmp_path, {"countdown": [user("{numbers}")]}), [example], 0)
    assert same == example
    assert chosen.messages(same) == [user("[3, 4, 5]")]


def test_a_training_prompt_has_to_show_the_item_too(tmp_path):
    two = {"evaluation": [user("{numbers}")], "training": [user("Solve it.")]}
    file = read(tmp_path, {"countdown": two})
    with pytest.raises(UserError, match="shows nothing of the item"):
        set_prompts(task("countdown"), file, [], 0)


def test_a_worked_example_shows_its_answer_in_the_place_of_the_prefill(tmp_path):
    chosen = task("countdown")
    examples = [chosen.example_for(str(target), [[3, 4, 5], target]) for target in (17, 12)]
    (left,) = set_prompts(chosen, read(tmp_path, {"countdown": [user("{target}"), PREFILL]}), examples, 1)
    asked = chosen.messages(left)
    assert [message["role"] for message in asked] == ["user", "assistant", "user", "assistant"]
    assert asked[1]["content"].startswith("<reasoning>\n")
    assert asked[3] == PREFILL


def test_humaneval_can_show_its_docstring_alone():
    chosen = task("humaneval")
    prompt = 'import re\n\ndef f(a):\n    """ Adds\n      one.\n    """\n'
    row = {"task_id": "x", "prompt": prompt, "entry_point": "f", "test": ""}
    shown = chosen.placeholders(chosen.read_row(row))
    assert shown == {"question": prompt, "entry_point": "f", "prompt": prompt.rstrip(), "docstring": "Adds\none."}
    one_line = chosen.read_row({**row, "prompt": "def f(a):\n    '''Adds one.'''\n"})
    assert chosen.placeholders(one_line)["docstring"] == "Adds one."
    assert chosen.placeholders(chosen.read_row({**row, "prompt": "def f(a):"}))["docstring"] == ""


def test_worked_examples_stand_between_the_system_message_and_the_question():
    shots = [user("a"), {"role": "assistant", "content": "b"}]
    assert with_shots([SYSTEM, user("q")], shots) == [SYSTEM, *shots, user("q")]
    assert with_shots([user("q")], shots) == [*shots, user("q")]


def test_worked_examples_are_the_same_in_every_run_and_no_longer_trained_on():
    train = [task("gsm8k").example_for(f"q{number}", number) for number in range(9)]
    first, second = task("gsm8k"), task("gsm8k")
    left = set_prompts(first, None, train, 2)
    assert set_prompts(second, None, train, 2) == left
    assert first.prompting == second.prompting != Prompting()
    assert [message["role"] for message in first.prompting.shots] == ["user", "assistant"] * 2
    shown = [example for example in train if example not in left]
    assert len(shown) == 2
    asked = first.messages(left[0])
    assert [message["role"] for message in asked] == ["user", "assistant", "user", "assistant", "user"]
    assert sum(f"boxed{{{example.target['answer']}}}" in str(asked) for example in shown) == 2
    assert left[0].question in asked[-1]["content"]


def test_more_worked_examples_than_there_are_is_refused():
    train = [task("gsm8k").example_for("q", 1)]
    with pytest.raises(UserError, match="--few-shot 2, but the training split has 1 examples"):
        set_prompts(task("gsm8k"), None, train, 2)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_worked_answer_is_right_by_both_graders_in_the_contract_s_tags(name):
    chosen = registry.get_task(name)(TaskOptions(bare_answers=False))
    for target in EXAMPLES[name]:
        example = chosen.example_for("", target)
        text = chosen.worked_answer(example)
        assert text.startswith("<reasoning>\n")
        assert text.endswith("\n</answer>")
        assert all(verdict.correct for verdict in chosen.score_one(example, text).verdicts.values())


def test_sudoku_s_worked_answer_is_the_solution():
    chosen = registry.get_task("sudoku")(TaskOptions(bare_answers=False))
    example = chosen.read_row({"Puzzle": "2030012002100002", "Solution": "2431312442131342"})
    assert chosen.score_one(example, chosen.worked_answer(example)).correct


def test_gsm8k_s_worked_answer_shows_the_steps_without_the_calculator():
    chosen = task("gsm8k")
    example = chosen.read_row({"question": "q", "answer": "48/2 = <<48/2=24>>24 clips.\n#### 24"})
    expected = "<reasoning>\n48/2 = 24 clips.\n</reasoning>\n<answer>\n\\boxed{24}\n</answer>"
    assert chosen.worked_answer(example) == expected


@pytest.mark.parametrize(("numbers", "target"), [([1, 3, 3], 1), ([8, 3, 3], 1), ([6, 3], 2), ([7], 7), ([5, 5, 5], 5)])
def test_countdown_finds_an_expression_where_there_is_one(numbers, target):
    chosen = registry.get_task("countdown")(TaskOptions(bare_answers=False))
    example = chosen.example_for("", [numbers, target])
    assert chosen.score_one(example, chosen.worked_answer(example)).correct


def test_countdown_says_where_there_is_no_expression():
    chosen = task("countdown")
    with pytest.raises(UserError, match=r"No expression of \[1, 1\] comes to 9"):
        chosen.worked_answer(chosen.example_for("", [[1, 1], 9]))


def test_a_model_with_compact_prompts_takes_no_others(random_model):
    chosen = task("countdown")
    example = chosen.example_for("", [[3, 4, 5], 17])
    assert random_model.prompt_text(chosen, example) == "3,4,5=17\n"
    chosen.prompting = Prompting(template=(user("{numbers}"),))
    with pytest.raises(UserError, match="The tiny model reads short fixed prompts"):
        random_model.prompt_text(chosen, example)
