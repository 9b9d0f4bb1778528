"""How papers evaluate: the built-in facts, and what is made of them."""

from __future__ import annotations

import pytest

from harness import registry
from harness.config.decoding import Decoding
from harness.config.published import protocols
from harness.config.published.protocols import evaluation_protocol, load_protocol, protocol_names
from harness.data.python_text import NAME_IN_BRACES
from harness.errors import UserError
from harness.task.base import GRADERS

NAMES = ["agrpo", "d1", "egspo", "espo", "justgrpo", "llada", "spg", "wd1"]
EVERYTHING = [(name, task) for name in NAMES for task in load_protocol(name).tasks]


def sizes(name, task):
    found = evaluation_protocol(name, task).decodings
    return [(one.completion_length, one.block_length, one.num_steps, one.eos_policy) for one in found]


def test_the_named_protocols_are_there():
    assert protocol_names() == NAMES


@pytest.mark.parametrize(("name", "task"), EVERYTHING)
def test_a_task_of_a_protocol_is_one_of_ours_with_a_grader_of_ours_and_says_where_its_data_come_from(name, task):
    found = load_protocol(name).tasks[task]
    assert (found.protocol, found.task) == (name, task)
    assert task in registry.names("task")
    assert found.grader in GRADERS
    assert found.test_data
    assert bool(found.unavailable) != bool(found.evaluation)
    if found.evaluation:
        assert found.decodings
        assert all(one.temperature == 0 and one.remasking == "low_confidence" for one in found.decodings)


@pytest.mark.parametrize(("name", "task"), EVERYTHING)
def test_no_wording_of_the_authors_stands_in_a_protocol(name, task):
    found = load_protocol(name).tasks[task]
    for prompt in filter(None, (found.evaluation, found.training)):
        for message in prompt.messages:
            bare = NAME_IN_BRACES.sub("", message["content"])
            assert set(bare.split()) <= {"Numbers:", "Target:", "Question:", "Answer:", "<reasoning>"}


def test_d1_decodes_two_tokens_per_step_at_three_lengths_behind_a_prefill():
    assert sizes("d1", "gsm8k") == [(128, 32, 64, "run"), (256, 32, 128, "run"), (512, 32, 256, "run")]
    found = evaluation_protocol("d1", "sudoku")
    assert found.lengths == (128, 256, 512)
    assert (found.items, found.few_shot, found.grader, found.prefill) == (256, 0, "official", "<reasoning>")
    half = Decoding(completion_length=256, block_length=32, num_steps=128, eos_policy="run")
    assert found.decodings_at(256) == (half,)


def test_the_others_differ_where_their_code_does():
    assert sizes("agrpo", "math500") == [(256, 32, 128, "stop-agrpo")]
    assert sizes("justgrpo", "gsm8k") == [(256, 32, 256, "run")]
    assert sizes("wd1", "countdown") == [(256, 32, 128, "run"), (512, 32, 256, "run")]
    assert sizes("llada", "humaneval") == [(512, 512, 512, "forbid"), (512, 32, 512, "run")]
    assert evaluation_protocol("llada", "humaneval").lengths == (512,)
    assert evaluation_protocol("spg", "sudoku").few_shot == 3
    assert {evaluation_protocol(name, "gsm8k").prefill for name in ("agrpo", "justgrpo", "llada")} == {""}


def test_a_protocol_that_extends_another_has_its_values_and_its_own_over_them():
    d1, egspo = load_protocol("d1"), load_protocol("egspo")
    assert egspo.tasks["gsm8k"].decodings == d1.tasks["gsm8k"].decodings
    assert (egspo.repository, egspo.commit, egspo.seed) == ("vishnutez/egspo-dllm-rl", "a7d618b", 42)
    assert sorted(egspo.tasks) == ["countdown", "gsm8k", "humaneval", "math500", "mbpp", "sudoku"]
    assert d1.tasks["gsm8k"].training.read == {"text": "diffu-grpo/data_utils.py: get_gsm8k_questions.content"}
    assert egspo.tasks["gsm8k"].training.read == {"text": "egspo/data_utils.py: get_gsm8k_questions.content"}
    spg = load_protocol("spg").tasks["gsm8k"]
    assert spg.evaluation == d1.tasks["gsm8k"].evaluation
    assert spg.grading != d1.tasks["gsm8k"].grading


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("egsp", "gsm8k", "Unknown protocol 'egsp'. Did you mean 'egspo'"),
        ("d1", "gsm8", "Unknown task 'gsm8'. Did you mean 'gsm8k'"),
        ("d1", "mbpp", "Unknown task of protocol 'd1' 'mbpp'. Choices: countdown, gsm8k, math500, sudoku"),
        ("espo", "gsm8k", "Protocol 'espo' cannot be followed on gsm8k: .*; use protocol llada"),
        ("justgrpo", "mbpp", "cannot be followed on mbpp: .* full MBPP"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_sentence(name, task, said):
    with pytest.raises(UserError, match=said):
        evaluation_protocol(name, task)


def test_a_length_with_two_settings_has_both():
    both = evaluation_protocol("llada", "math500").decodings_at(512)
    assert [(one.block_length, one.eos_policy) for one in both] == [(512, "defer"), (64, "run")]
    single = evaluation_protocol("llada", "gsm8k").decodings_at(256)
    assert [(one.block_length, one.eos_policy) for one in single] == [(8, "run")]


def test_a_length_that_a_paper_does_not_have_is_refused():
    with pytest.raises(UserError, match="'wd1' evaluates gsm8k at length 256, 512, not at 128"):
        evaluation_protocol("wd1", "gsm8k").decodings_at(128)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: base\ntasks: {gsm8k: {grader: official, test_data: x, colour: red}}", "mine.gsm8k.colour"),
        ("extends: base\ntasks: {gsm8k: {decodings: [{block_length: 3}]}}", "block_length=3 does not divide"),
        ("extends: base\ntasks: {gsm8k: {items: many}}", "mine.gsm8k.items='many' is not a whole number"),
        ("extends: base\ntasks: {gsm8k: {training: {messages: []}}}", "mine.gsm8k.training: the list of chat messages"),
        ("extends: none", "Unknown protocol 'none'"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_key(tmp_path, monkeypatch, text, said):
    base = "title: B\nrepository: a/b\ncommit: c\ncheckpoint: d\ntasks: {gsm8k: {grader: official, test_data: x}}"
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.setattr(protocols, "_folder", lambda: tmp_path)
    load_protocol.cache_clear()
    with pytest.raises(UserError, match=said):
        load_protocol("mine")
    load_protocol.cache_clear()
