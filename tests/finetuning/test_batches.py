"""Batches of masked fine-tuning: what is masked, what the loss is, and that padding changes nothing."""

import itertools
import json
import math
import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.finetuning.batches import (
    EncodedPair,
    MaskedBatch,
    draw_batch,
    draw_masks,
    encode_pair,
    mask_batch,
    masked_batch,
    masked_loss,
    shuffled_batches,
    take_turns,
)
from harness.finetuning.data import Pair, read_pairs
from harness.models.tiny import END_ID, MASK_ID, fresh_tiny
from harness.task.base import Demonstration

LINES = (("12+3=", "15"), ("7*8=", "56"), ("what?", "nothing at all"), ("a", "b"))


def pair(prompt, answer):
    return Pair(prompt=prompt, answer=answer, place="'mine.jsonl', line 3")


def encoded(model, max_length=64):
    return [encode_pair(model, pair(*line), max_length) for line in LINES]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_loss_is_the_mean_over_rows_of_the_mean_over_their_masked_tokens():
    # Two tokens; the stub's logits are log(1), log(3) everywhere: token 1 costs log(4/3), token 0 log 4.
    stub = SimpleNamespace(
        hidden=lambda tokens, mask, clean: torch.zeros(*tokens.shape, 1),
        head=lambda hidden: torch.tensor([1.0, 3.0]).log().expand(len(hidden), 2),
    )
    batch = MaskedBatch(
        tokens_BL=torch.zeros(2, 4, dtype=torch.int64),
        mask_BL=None,
        clean_BL=torch.tensor([[0, 0, 1, 1], [1, 1, 0, 1]]),
        masked_BL=torch.tensor([[False, True, True, True], [False, False, True, False]]),
    )
    first, second = (math.log(4) + 2 * math.log(4 / 3)) / 3, math.log(4)
    assert masked_loss(stub, batch, num_rows=2).item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_the_model_is_shown_the_attention_mask():
    seen = []

    def hidden(tokens, mask, clean):
        seen.append(mask)
        return torch.zeros(*tokens.shape, 1)

    model = fresh_tiny(0)
    batch = mask_batch(model, draw_batch(encoded(model), generator()))
    masked_loss(SimpleNamespace(hidden=hidden, head=lambda hidden: torch.zeros(len(hidden), 128)), batch, num_rows=4)
    # Prompts of 5, 4, 5 and 1 tokens; the longest completion has 14 letters and an end token.
    assert seen[0].long().sum(1).tolist() == [5 + 15, 4 + 15, 5 + 15, 1 + 15]
    assert seen[0][3, :5].tolist() == [False, False, False, False, True]


def test_prompts_are_never_masked_and_completions_are_filled_with_end_tokens():
    model = fresh_tiny(0)
    rng = generator()
    for _ in range(20):
        batch = mask_batch(model, draw_batch(encoded(model), rng))
        assert not batch.masked_BL[:, :5].any()
        assert (batch.tokens_BL[batch.masked_BL] == MASK_ID).all()
        assert (batch.tokens_BL == torch.where(batch.masked_BL, MASK_ID, batch.clean_BL)).all()
    assert model.tokenizer.decode(batch.clean_BL[3].tolist()) == "ab"
    assert batch.clean_BL[3].tolist() == [END_ID] * 4 + model.tokenizer.encode("ab") + [END_ID] * 14
    assert batch.clean_BL[2, -1] == END_ID


def test_the_filled_end_tokens_are_masked_too():
    model = fresh_tiny(0)
    rng = generator()
    last_of_shortest = [bool(draw_batch(encoded(model), rng).masked_BC[3, -1]) for _ in range(40)]
    assert 8 <= sum(last_of_shortest) <= 36


@pytest.mark.parametrize(("rows", "length"), [(4, 4), (8, 16), (3, 9)])
def test_mask_counts_are_stratified_over_one_to_c(rows, length):
    rng = generator(3)
    totals = torch.zeros(length + 1)
    for _ in range(200):
        counts = draw_masks(rows, length, rng).sum(1)
        assert counts.min() >= 1
        assert counts.max() <= length
        strata = ((counts - 1) * rows).div(length).floor()
        if length % rows == 0:
            assert sorted(strata.tolist()) == list(range(rows))
        totals += torch.bincount(counts, minlength=length + 1)
    # Every count is as likely as another: 200 draws of `rows` over `length` counts, within 5 standard errors.
    expected = 200 * rows / length
    assert (totals[1:] - expected).abs().max() < 5 * math.sqrt(expected)


def test_padding_changes_nothing(random_model):
    model = random_model
    rows = [EncodedPair(prompt_ids=model.tokenizer.encode(text), completion_ids=[3, 4, 5]) for text in ("a", "hello")]
    masked_BC = torch.tensor([[True, False, True], [False, True, False]])
    completion_BC = torch.tensor([row.completion_ids for row in rows])

    def loss(chosen):
        prompts = model.pad_prompts([rows[index].prompt_ids for index in chosen])
        batch = masked_batch(prompts, completion_BC[chosen], masked_BC[chosen], mask_id=model.special.mask_id)
        return masked_loss(model, batch, num_rows=len(chosen)).item()

    assert loss([0]) != pytest.approx(loss([1]), rel=1e-3)
    assert loss([0, 1]) == pytest.approx((loss([0]) + loss([1])) / 2, rel=1e-5)


def test_every_pass_takes_every_pair_once_in_a_new_order():
    pairs = [EncodedPair(prompt_ids=[index], completion_ids=[index]) for index in range(10)]
    batches = list(itertools.islice(shuffled_batches(pairs, 4, 0), 5))
    assert [len(batch) for batch in batches] == [4] * 5
    order = [row.prompt_ids[0] for batch in batches for row in batch]
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]
    assert len(next(shuffled_batches(pairs[:2], 5, 0))) == 5


def test_an_answer_ends_with_one_end_token_unless_it_is_cut():
    model = fresh_tiny(0)
    answer = model.tokenizer.encode("15")
    assert encode_pair(model, pair("12+3=", "15"), 8).completion_ids == [*answer, END_ID]
    assert encode_pair(model, pair("12+3=", "15"), 7).completion_ids == answer
    assert encode_pair(model, pair("12+3=", "15"), 6).completion_ids == answer[:1]


@pytest.mark.parametrize(
    ("prompt", "answer", "words"),
    [
        ("12+3=", "15", "the prompt of 5 tokens leaves no room for an answer; raise --max-length 5"),
        ("é", "15", "no token for the character 'é'"),
        ("1", "ü", "no token for the character 'ü'"),
        (({"role": "user", "content": "1"},), "2", "has no chat template"),
    ],
)
def test_a_pair_that_does_not_fit_the_model_is_refused_by_file_and_line(prompt, answer, words):
    with pytest.raises(UserError) as error:
        encode_pair(fresh_tiny(0), pair(prompt, answer), 5)
    assert "'mine.jsonl', line 3: " in str(error.value)
    assert words in str(error.value)


def test_texts_messages_and_synonyms_are_read(tmp_path):
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "1+1?"}]
    lines = [
        {"prompt": "a", "answer": "b", "source": "s1K"},
        {"question": "c", "completion": "d"},
        {"prompt": messages, "completion": "2"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n\n".join(json.dumps(line) for line in lines) + "\r\n")
    read = read_pairs(path)
    assert [(item.prompt, item.answer) for item in read[:2]] == [("a", "b"), ("c", "d")]
    assert read[2].prompt == tuple(messages)
    assert [item.place.rpartition(" ")[2] for item in read] == ["1", "3", "5"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[" * 100_000, "is not JSON"),
        (b"3", "is not an object"),
        (b'{"prompt": "a"}', "has neither; give one of answer, completion"),
        (b'{"prompt": "a", "question": "b", "answer": "c"}', "has prompt and question; give one of"),
        (b'{"prompt": "a", "answer": 15}', "the answer is 15; it must be a text"),
        (b'{"prompt": "", "answer": "c"}', "the prompt is"),
        (b'{"prompt": [], "answer": "c"}', "list of chat messages is empty"),
        (b'{"prompt": ["a"], "answer": "c"}', "a chat message is"),
        (b'{"prompt": [{"role": "user"}], "answer": "c"}', "a chat message is"),
        (b'{"prompt": [{"role": "user", "content": 3}], "answer": "c"}', "a message's content is 3"),
        (b'{"prompt": "\\ud800", "answer": "c"}', "half a surrogate pair"),
    ],
)
def test_a_malformed_line_is_refused_by_file_and_line(tmp_path, line, words):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"prompt": "a", "answer": "b"}\n' + line + b"\n")
    with pytest.raises(UserError) as error:
        read_pairs(path)
    assert str(error.value).startswith((f"'{path}', line 2: ", f"In '{path.parent}', {path.name} line 2 "))
    assert words in str(error.value)


def test_a_file_without_lines_or_no_file_is_refused(tmp_path):
    path = tmp_path / "pairs.jsonl"
    with pytest.raises(UserError, match="No such file"):
        read_pairs(path)
    path.write_text("\n \n")
    with pytest.raises(UserError, match="has no lines"):
        read_pairs(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prompt", "answer", "role", "content", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(line=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_any_line_is_read_or_refused_with_its_place(tmp_path_factory, line):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(line)
    try:
        places = [item.place for item in read_pairs(path) if item.prompt and item.answer]
    except UserError as error:
        places = [str(error)]
    assert places
    assert all(place.startswith((f"'{path}'", f"In '{path.parent}', {path.name} line ")) for place in places)


class Named:
    """A task that demonstrates its own name."""

    def __init__(self, name):
        self.name = name

    def demonstrations(self, count, rng):
        return [Demonstration(prompt=f"{self.name}{number}\n", completion=self.name) for number in range(count)]


def test_the_rows_of_several_tasks_take_turns():
    rows = take_turns([Named(name).demonstrations for name in "ab"], 5, random.Random(0))
    assert [row.prompt for row in rows] == ["a0\n", "b0\n", "a1\n", "b1\n", "a2\n"]


@pytest.mark.parametrize(("at_least", "length"), [(0, 3), (2, 3), (7, 7)])
def test_completions_are_filled_up_with_end_tokens_to_the_length_asked_for(at_least, length):
    model = fresh_tiny(0)
    rows = [EncodedPair(prompt_ids=[1], completion_ids=[2, 3, 4]), EncodedPair(prompt_ids=[1], completion_ids=[5])]
    batch = mask_batch(model, draw_batch(rows, torch.Generator().manual_seed(0), at_least))
    end = model.special.end_ids[0]
    filled = [[2, 3, 4] + [end] * (length - 3), [5] + [end] * (length - 1)]
    assert batch.clean_BL[:, 1:].tolist() == filled
