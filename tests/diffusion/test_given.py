"""Tokens of a completion that are given: they stand, the others are written around them."""

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.exact_record import exact_at
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models.attention import COMPLETION, SEQUENCE, Attention
from harness.models.diffusion_lm import DiffusionLM
from harness.models.tiny import END_ID, MASK_ID
from harness.rollout import GIVEN, RolloutNeeds

PROMPTS = ["12+3=", "a", "hello world:"]
SEEDS = torch.arange(3)
SIZES = {"completion_length": 12, "block_length": 4, "num_steps": 6, "eos_policy": "run"}
KINDS = [
    {"temperature": 0.9},
    {"temperature": 0.9, "remasking": "random", "top_k": 9},
    {"cache": "prefix"},
    {"cache": "dual", "schedule": "dream"},
    {"schedule": "dllm", "block_length": 5, "guidance_scale": 0.7},
    {"schedule": "dream", "block_length": 12, "num_steps": 16},
    {"threshold": 0.3, "cache": "dual"},
    {"remasking": "p2", "temperature": 0.9},
]
M = MASK_ID
HOLES = [
    [M, M, M, M, M, M, M, M, M, M, M, M],
    [3, M, 4, 5, 6, 7, 8, 9, M, M, M, 10],
    [M, M, M, M, M, 11, M, M, 12, 13, 14, 15],
]


def rollout_of(model, rows=slice(None), given=HOLES, **options):
    needs = options.pop("needs", None)
    length_B = options.pop("length_B", None)
    decoding = Decoding(**{**SIZES, **options})
    given_BC = None if given is None else torch.tensor(given)[rows]
    prompts = model.encode_prompts(PROMPTS[rows])
    return generate(model, prompts, decoding, SEEDS[rows], needs=needs, length_B=length_B, given_BC=given_BC)


def shifted(model, attention=None):
    """The same weights, read as those of a model whose output at i predicts token i + 1."""
    return DiffusionLM(
        model.predictor.transformer,
        model.tokenizer,
        model.special,
        name="shifted",
        shift=True,
        attention=attention or Attention(),
        compact_prompts=True,
    )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_where_nothing_is_given_nothing_changes(random_model, kind):
    model = shifted(random_model)
    plain, around = rollout_of(model, given=None, **kind), rollout_of(model, given=[[M] * 12] * 3, **kind)
    for name in ("completion_ids_BC", "unmask_step_BC", "num_steps_B", "forwards_B"):
        assert torch.equal(getattr(plain, name), getattr(around, name)), name
    torch.testing.assert_close(around.logprob_BC, plain.logprob_BC)
    assert around.flops == plain.flops


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_given_tokens_stand_and_a_row_gets_in_a_batch_what_it_gets_alone(random_model, kind):
    model, given_BC = shifted(random_model), torch.tensor(HOLES)
    together = rollout_of(model, **kind)
    is_given_BC = given_BC != M
    assert torch.equal(together.completion_ids_BC[is_given_BC], given_BC[is_given_BC])
    assert torch.equal(together.unmask_step_BC == GIVEN, is_given_BC)
    assert not together.logprob_BC[is_given_BC].any()
    before_all = together.completion_at(torch.full((3,), GIVEN))
    assert torch.equal(before_all, torch.where(is_given_BC, given_BC, M))
    assert (together.logprob_BC[~is_given_BC] < 0).all()
    assert not (together.completion_ids_BC == M).any()
    for row in range(3):
        alone = rollout_of(model, slice(row, row + 1), **kind)
        assert torch.equal(alone.completion_ids_BC[0], together.completion_ids_BC[row])
        assert torch.equal(alone.unmask_step_BC[0], together.unmask_step_BC[row])


def test_a_row_shares_its_own_masks_among_the_steps_of_a_block(random_model):
    rollout = rollout_of(random_model)
    # Masks by block: 4 4 4, 1 0 3 and 4 3 0; each block has two steps.
    assert [torch.bincount(row[row >= 0].long(), minlength=6).tolist() for row in rollout.unmask_step_BC] == [
        [2, 2, 2, 2, 2, 2],
        [1, 0, 0, 0, 2, 1],
        [2, 2, 2, 1, 0, 0],
    ]
    assert [rollout_of(random_model, slice(row, row + 1)).forwards_B.item() for row in range(3)] == [6, 3, 4]
    state_BL, _ = rollout.state_at(torch.zeros(3, dtype=torch.long))
    assert state_BL[:, -12:].tolist() == HOLES


def test_rows_may_end_within_a_block_and_are_filled_up(random_model):
    rollout = rollout_of(random_model, length_B=torch.tensor([12, 9, 6]))
    assert rollout.completion_ids_BC[2].tolist() == [*rollout.completion_ids_BC[2, :6].tolist(), *[END_ID] * 6]
    assert (rollout.unmask_step_BC[2, 6:] == 6).all()
    assert rollout.completion_ids_BC[1, 8] != END_ID
    assert rollout.completion_ids_BC[1, 9:].tolist() == [END_ID] * 3
    assert rollout.num_steps_B.tolist() == [6, 6, 4]
    with pytest.raises(UserError, match=r"\[13, 0\] must be at least 1 and at most completion_length=12"):
        rollout_of(random_model, length_B=torch.tensor([13, 0, 1]))


def ends_alone(model):
    """Has the model predict end tokens everywhere."""
    with torch.no_grad():
        state_d = model.hidden(torch.full((1, 4), M), None)[0].mean(0)
        model.predictor.transformer.lm_head.weight[END_ID] += 50 * state_d
    return model


@pytest.mark.parametrize("kind", [{}, {"threshold": 0.3}, {"remasking": "p2"}], ids=str)
def test_a_row_ends_early_only_where_nothing_given_follows(random_model, kind):
    nothing, late = [M] * 12, [M] * 10 + [3, 4]
    rollout = rollout_of(ends_alone(random_model), given=[nothing, late, nothing], eos_policy="stop", **kind)
    assert rollout.completion_ids_BC.tolist() == [[END_ID] * 12, [END_ID] * 10 + [3, 4], [END_ID] * 12]
    assert (rollout.unmask_step_BC[0, 4:] == rollout.num_steps).all()
    assert (rollout.unmask_step_BC[1, :10] < rollout.num_steps).all()


@pytest.mark.parametrize(("blocks_from", "shift"), [(SEQUENCE, True), (COMPLETION, False)])
@pytest.mark.parametrize("kind", [{"temperature": 0.9}, {"guidance_scale": 0.7}], ids=str)
def test_models_that_attend_by_blocks_write_around_given_tokens(random_model, kind, blocks_from, shift):
    model = shifted(random_model, Attention(block_length=4, blocks_from=blocks_from))
    model.predictor.shift = shift
    plain = rollout_of(model, given=None, **kind)
    assert torch.equal(rollout_of(model, given=[[M] * 12] * 3, **kind).completion_ids_BC, plain.completion_ids_BC)
    together, given_BC = rollout_of(model, **kind), torch.tensor(HOLES)
    assert torch.equal(torch.where(given_BC == M, given_BC, together.completion_ids_BC), given_BC)
    assert torch.equal(together.given_BC, given_BC != M)
    assert not (together.completion_ids_BC == M).any()
    for row in range(3):
        alone = rollout_of(model, slice(row, row + 1), **kind)
        assert torch.equal(alone.completion_ids_BC[0], together.completion_ids_BC[row])
        assert torch.equal(alone.unmask_step_BC[0], together.unmask_step_BC[row])


def test_a_given_end_token_ends_a_block_model_s_row_only_where_nothing_given_follows(random_model):
    model = shifted(random_model, Attention(block_length=4))
    given = [[M, 5, END_ID, *[M] * 9], [M, 5, END_ID, *[M] * 8, 6], [M] * 12]
    rollout = rollout_of(model, given=given, eos_policy="stop")
    assert (rollout.completion_ids_BC[0, 2:] == END_ID).all()
    assert rollout.unmask_step_BC[0, -1] == rollout.num_steps
    assert rollout.unmask_step_BC[1, -1] == GIVEN
    assert (rollout.unmask_step_BC[1, 3:11] < rollout.num_steps).all()


def test_given_tokens_are_never_scored(random_model):
    rollout = rollout_of(random_model, cache="dual")
    scored = exact_at(rollout, random_model, torch.tensor([[-1, 0], [-1, -1], [0, -1]]))
    assert not scored.logprob_BC[scored.given_BC].any()
    assert torch.equal(scored.logprob_BC[1], rollout.logprob_BC[1])


@pytest.mark.parametrize(
    ("given", "needs", "said"),
    [
        ([[M] * 11] * 3, None, r"shape \(3, 11\) do not fit 3 prompts .* shape \(3, 12\), with the mask token"),
        ([[M] * 12] * 2, None, r"shape \(2, 12\) do not fit 3 prompts and completion_length=12"),
        ([[M] * 12] * 2 + [[M] * 11 + [999]], None, r"^Given token 999 is not in the vocabulary of .* from 0 to"),
        ([[M] * 11 + [-1]] * 3, None, r"^Given token -1 is not in the vocabulary"),
        ([[True] * 12] * 3, None, r"^Given tokens are torch\.bool, which are no token ids; give a tensor"),
        (HOLES, RolloutNeeds(argmax=True), r"p2 or given tokens"),
    ],
)
def test_what_does_not_fit_is_refused(random_model, given, needs, said):
    decoding = Decoding(**SIZES)
    with pytest.raises(UserError, match=said):
        generate(
            random_model,
            random_model.encode_prompts(PROMPTS),
            decoding,
            SEEDS,
            needs=needs,
            given_BC=torch.tensor(given),
        )


def test_guidance_masks_what_is_given(random_model):
    """By hand: the only mask of a completion, guided by a pass that sees masks alone."""
    given_C = [3, 4, 5, 6, 7, M, 8, 9, 10, 11, 12, 13]
    rollout = rollout_of(random_model, slice(0, 1), given=[given_C], guidance_scale=1.0, block_length=12, num_steps=1)
    prompt = random_model.encode_prompts(PROMPTS[:1]).ids_BP[0].tolist()
    seen_L, column = torch.tensor([[*prompt, *given_C]]), len(prompt) + 5
    with torch.no_grad():
        seen_V = random_model.head(random_model.hidden(seen_L, None)[0, column])
        blind_V = random_model.head(random_model.hidden(torch.full_like(seen_L, M), None)[0, column])
    guided_V = 2 * seen_V - blind_V
    guided_V[M] = -torch.inf
    assert rollout.completion_ids_BC[0, 5] == guided_V.argmax()
    assert rollout.completion_ids_BC[0, 5] != seen_V.argmax()
    assert rollout.forwards_B.tolist() == [2]
