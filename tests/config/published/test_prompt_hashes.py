"""Whether prompts are said to be published, ours or unverified; the texts of these tests are our own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.config.published import prompt_hashes
from harness.config.published.prompt_hashes import PromptHash, check_prompts, constant_hashes, sha256, training_prompts
from harness.errors import UserError
from harness.registry import get_task
from harness.task.base import TaskOptions
from harness.task.template import Prompting

QUESTION = {"role": "user", "content": "How many? {question}"}
PREFILL = {"role": "assistant", "content": "So"}
RENDERED = "<How many? 1 + 1>"


def known(part: str, text: str, item: str = "gsm8k-test-0", phase: str = "evaluation") -> PromptHash:
    return PromptHash(
        protocol="d1", task="gsm8k", phase=phase, part=part, item=item, characters=len(text), sha256=sha256(text)
    )


TABLE = (
    known("user", "How many? 1 + 1"),
    known("prefill", "So"),
    known("rendered", RENDERED),
    known("model-input", f"{RENDERED}So"),
)


@pytest.fixture
def state(monkeypatch):
    """The state of the prompts of a GSM8K task with two items of which the first is in the table."""

    def state(*messages, form="<{}>", table=TABLE, **options):
        monkeypatch.setattr(prompt_hashes, "prompt_hashes", lambda: table)
        task = get_task("gsm8k")(TaskOptions())
        task.prompting = Prompting(template=messages)
        examples = [task.example_for(question, 2) for question in ("1 + 1", "3 - 1")]
        named = [type(one)(id=f"gsm8k-test-{n}", question=one.question, target={}) for n, one in enumerate(examples)]

        def render(task, example):
            texts = [message["content"] for message in task.messages(example)]
            return form.format(texts[0]) + "".join(texts[1:])

        return check_prompts("d1", task, named, render, **options)

    return state


def test_the_same_model_input_is_as_published(state):
    found = state(QUESTION, PREFILL)
    assert (found.state, found.reason) == ("as published", "the same sha256 for gsm8k-test-0")


@pytest.mark.parametrize("messages", [(QUESTION,), ({**QUESTION, "content": "How many?{question}"}, PREFILL)])
def test_a_missing_prefill_or_another_space_makes_prompts_ours(state, messages):
    assert state(*messages).state == "ours"


def test_the_same_messages_in_another_template_are_unverified_and_it_is_said_why(state):
    found = state(QUESTION, PREFILL, form="[{}]")
    assert found.state == "unverified"
    assert found.reason.endswith("in another chat template")


def test_items_or_a_phase_without_a_hash_are_unverified(state):
    assert state(QUESTION, PREFILL, phase="training").state == "unverified"
    assert state(QUESTION, PREFILL, table=[known("model-input", "x", item="gsm8k-test-9")]).state == "unverified"
    assert state(QUESTION, PREFILL, table=[]).state == "unverified"


def test_of_two_hashed_items_both_have_to_agree(state):
    second = known("model-input", "<How many? 3 - 1>So", item="gsm8k-test-1")
    assert state(QUESTION, PREFILL, table=[*TABLE, second]).state == "as published"
    other = [known(part, "x", item="gsm8k-test-1") for part in ("user", "prefill", "model-input")]
    assert state(QUESTION, PREFILL, table=[*TABLE, *other]).state == "ours"


def test_an_unknown_phase_is_refused(state):
    with pytest.raises(UserError, match="Did you mean 'evaluation'"):
        state(QUESTION, phase="evaluatio")


@pytest.fixture
def trained(monkeypatch):
    """What a run records of a GSM8K training prompt that two papers have hashes of, d1's being this one."""
    asked = "How many? 1 + 1"
    table = [
        replace(known(part, text, item="gsm8k-train-0", phase="training"), protocol=protocol)
        for protocol, text in (("agrpo", "Another?"), ("d1", asked))
        for part, text in (("user", text), ("prefill", ""), ("model-input", f"<{text}>"))
    ]
    monkeypatch.setattr(prompt_hashes, "prompt_hashes", lambda: table)

    def trained(template, item="gsm8k-train-0", form="<{}>", training=()):
        task = get_task("gsm8k")(TaskOptions())
        task.prompting = Prompting(template=template, training=training)
        example = replace(task.example_for("1 + 1", 2), id=item)
        return training_prompts(task, [example], lambda task, one: form.format(task.messages(one)[0]["content"]))

    return trained


def test_training_prompts_are_as_published_where_one_paper_has_them(trained):
    because = "the same sha256 for gsm8k-train-0"
    assert trained([QUESTION]) == {"published": "as published", "protocols": ["d1"], "because": because}


def test_what_a_prompts_file_has_for_training_is_compared_and_not_what_it_has_for_evaluation(trained):
    other = {**QUESTION, "content": "{question}?"}
    assert trained([other], training=[QUESTION])["published"] == "as published"
    assert trained([QUESTION], training=[other])["published"] == "ours"


def test_training_prompts_of_no_paper_are_ours_and_the_papers_are_named(trained):
    found = trained([{**QUESTION, "content": "How many?  {question}"}])
    assert (found["published"], found["protocols"]) == ("ours", ["agrpo", "d1"])


def test_training_prompts_in_another_template_or_of_items_without_a_hash_are_unverified(trained):
    template = trained([QUESTION], form="[{}]")
    assert (template["published"], template["protocols"]) == ("unverified", ["d1"])
    item = trained([QUESTION], item="gsm8k-train-1")
    assert (item["published"], item["protocols"]) == ("unverified", [])


def test_the_table_has_333_texts_and_41_constants_in_legal_rows():
    table = prompt_hashes.prompt_hashes()
    assert len(table) == 333
    assert sum(one.item == "" for one in table) == sum(one.part.startswith("constant ") for one in table) == 41
    assert all(len(one.sha256) == 64 and one.characters >= 0 for one in table)
    assert {one.phase for one in table} == {"evaluation", "training", "both"}
    empty = {one.sha256 for one in table if not one.characters}
    assert empty == {sha256("")}
    assert {one.sha256 for one in table if one.part == "prefill" and one.characters} == {sha256("<reasoning>")}


def test_constants_are_found_by_their_place():
    assert constant_hashes("d1")["eval/gsm8k.py: GSM_SYSTEM_PROMPT"].startswith("f11d75a7")
