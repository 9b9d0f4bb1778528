"""EGSPO's own pure functions by hand; parity with the official trainer is in tests/golden."""

import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models.tiny import END_ID
from harness.registry import get_method
from harness.rollout import Prompts, Rewards, Rollout, ScoredRollouts

egspo = sys.modules[get_method("egspo").__module__]
Config = egspo.EgspoConfig


def rollout_with(steps, *, taken=None, num_steps=4, completion=None):
    step_BC = torch.tensor(steps, dtype=torch.int16)
    rows = len(steps)
    return Rollout(
        prompts=Prompts(ids_BP=torch.ones(rows, 2, dtype=torch.long), mask_BP=None),
        completion_ids_BC=torch.tensor(completion) if completion else torch.ones(step_BC.shape, dtype=torch.long),
        unmask_step_BC=step_BC,
        logprob_BC=-torch.arange(1.0, step_BC.numel() + 1).view(step_BC.shape),
        entropy_BC=step_BC.float() + 1,
        num_steps_B=torch.tensor(taken or [num_steps] * rows, dtype=torch.int16),
        num_steps=num_steps,
        mask_id=0,
    )


class Endless:
    """Stands for a policy: only its end tokens are asked for."""

    @staticmethod
    def is_end(ids):
        return ids == END_ID


def prepare(config, rollout, rewards, score=None, group_size=2):
    reward_B = torch.tensor(rewards, dtype=torch.float64)
    scored = ScoredRollouts(
        rollout=rollout, rewards=Rewards(total_B=reward_B, parts={"correctness": reward_B}), group_size=group_size
    )
    method = get_method("egspo")(config=config)
    return method.prepare(scored, Endless(), score, method.draw(scored, Endless(), torch.Generator().manual_seed(0)))


def slots(prepared):
    parts = [part for update in prepared.updates for part in update.parts]
    return [parts[-1], *parts[:-1]]


def test_slots_hold_the_steps_in_falling_entropy_and_train_in_the_official_order():
    rollout = rollout_with([[0, 1, 2, 3], [3, 2, 1, 0]])
    prepared = prepare(Config(num_selected=3), rollout, [1.0, 0.0])
    assert prepared.chosen.step_BK.tolist() == [[3, 2, 1], [3, 2, 1]]
    first_trained = prepared.updates[0].parts[0]
    assert first_trained.old_logprob_B.tolist() == [-3.0, -6.0]
    assert slots(prepared)[0].old_logprob_B.tolist() == [-4.0, -5.0]
    assert first_trained.tokens_BL.tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 1]]
    assert first_trained.position_Bn.tolist() == [[4], [3]]


def test_uneven_tokens_per_step_are_summed_and_divided_by_the_constant_share():
    rollout = rollout_with([[0, 0, 0, 1, 1], [1, 1, 0, 0, 0]], num_steps=2)
    slot = slots(prepare(Config(num_selected=2), rollout, [1.0, 0.0]))[1]
    assert slot.is_revealed_Bn.tolist() == [[True, True, True], [True, True, True]]
    assert slot.old_logprob_B.tolist() == [-6.0, -27.0]
    assert slot.normaliser == 2 * 5 / 2
    other = slots(prepare(Config(num_selected=2), rollout, [1.0, 0.0]))[0]
    assert other.old_logprob_B.tolist() == [-9.0, -13.0]


def test_the_mean_divides_by_the_tokens_really_revealed():
    rollout = rollout_with([[0, 0, 0, 1, 1], [1, 1, 0, 0, 0]], num_steps=2)
    mean = slots(prepare(Config(num_selected=2, aggregation="mean"), rollout, [1.0, 0.0]))[0]
    assert mean.old_logprob_B.tolist() == [-4.5, -6.5]
    assert mean.normaliser == 2


def test_a_row_that_stopped_early_has_fewer_slots_of_weight_one():
    rollout = rollout_with([[0, 1, 4, 4], [0, 1, 2, 3]], taken=[2, 4])
    prepared = prepare(Config(num_selected=3), rollout, [1.0, 0.0])
    assert prepared.chosen.step_BK.tolist() == [[1, 0, -1], [3, 2, 1]]
    assert [slot.weight_B.tolist() for slot in slots(prepared)] == [[1, 1], [1, 1], [0, 1]]
    assert [slot.advantage_B.tolist() for slot in slots(prepared)] == [[0.5, -0.5], [0.5, -0.5], [0.0, 0.0]]
    assert len(prepared.advantages) == 5


def test_until_last_non_eos_leaves_out_steps_that_reveal_only_end_tokens():
    completion = [[5, 6, END_ID, END_ID], [5, 6, 7, END_ID]]
    rollout = rollout_with([[0, 1, 2, 3], [0, 1, 3, 2]], completion=completion)
    chosen = prepare(Config(num_selected=3, until_last_non_eos=True), rollout, [1.0, 0.0]).chosen.step_BK
    assert chosen.tolist() == [[1, 0, -1], [3, 2, 1]]


def greedy_table(table):
    """A score function that gives row b and asked column m the reward table[b][m]."""

    def score(row_N, ids_NC):
        reward = torch.tensor(table, dtype=torch.float64).flatten()
        return Rewards(total_B=reward, parts={"correctness": reward})

    return score


def with_argmax(rollout):
    rows, length = rollout.completion_ids_BC.shape
    object.__setattr__(rollout, "argmax_BTC", torch.ones(rows, rollout.num_steps, length, dtype=torch.int32))
    return rollout


def test_stepwise_advantages_subtract_the_mean_at_equal_rank():
    rollout = with_argmax(rollout_with([[0, 1, 2, 3], [0, 1, 2, 3]]))
    config = Config(num_selected=2, stepwise_lambda=1.0)
    prepared = prepare(config, rollout, [1.0, 0.0], greedy_table([[0.0, 1.0], [1.0, 0.0]]))
    # Returns: row 0 (2 - 0) / 2 = 1, (2 - 1) / 2 = 0.5; row 1 (0 - 1) / 2 = -0.5, 0.
    assert [slot.advantage_B.tolist() for slot in slots(prepared)] == [[0.75, -0.75], [0.25, -0.25]]
    assert prepared.chosen.greedy_reward_BK.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_the_same_step_baseline_compares_with_the_others_at_that_very_step():
    rollout = with_argmax(rollout_with([[0, 1, 2, 3], [3, 2, 1, 0]], num_steps=4))
    object.__setattr__(rollout, "entropy_BC", torch.tensor([[9.0, 1, 1, 1], [1, 1, 9.0, 1]]))
    config = Config(num_selected=1, stepwise_lambda=1.0, baseline="step")
    # Row 0 chose step 0 and row 1 step 1, so both are asked for steps (0, 1).
    prepared = prepare(config, rollout, [1.0, 0.0], greedy_table([[0.0, 0.5], [1.0, 0.25]]))
    # Returns: row 0 at (0, 1) = (1, 0.75); row 1 = (-0.5, -0.125). Row 0: 1 + 0.5; row 1: -0.125 - 0.75.
    assert prepared.chosen.step_BK.tolist() == [[0], [1]]
    assert slots(prepared)[0].advantage_B.tolist() == [1.5, -0.875]


def test_without_a_baseline_the_advantage_is_the_return():
    prepared = prepare(Config(num_selected=2, baseline="none"), rollout_with([[0, 1, 2, 3]] * 2), [1.0, 0.25])
    assert slots(prepared)[0].advantage_B.tolist() == [1.0, 0.25]


def test_slot_loss_by_hand():
    slot = type("Slot", (), {"weight_B": torch.tensor([1.0, 0.0]), "normaliser": 4.0})()
    new, old = torch.tensor([math.log(2.0), 0.0]), torch.zeros(2)
    loss, _ = egspo.slot_loss(new, old, torch.tensor([1.0, 5.0]), torch.tensor([3.0, 9.0]), slot, Config(beta=0.5))
    assert loss.item() == pytest.approx((-1.5 + 0.5 * 3.0) / 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_selected": 5}, r"num_selected=5 .*num_steps=4"),
        ({"num_selected": 0}, r"num_selected=0"),
        ({"num_selected": 2, "selection": "entropie"}, r"entropie.*Did you mean 'entropy'"),
        ({"num_selected": 2, "baseline": "group"}, r"baseline.*group.*Choices: none, rank, step"),
        ({"num_selected": 2, "slots_per_update": 0}, r"slots_per_update=0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        get_method("egspo")(config=Config(**options)).check(Decoding(num_steps=4))


def test_steps_that_a_schedule_leaves_out_cannot_be_chosen():
    # 7 steps for each block of 8, but 4 for the last, which has no more tokens.
    decoding = Decoding(completion_length=20, block_length=8, num_steps=20, schedule="dllm")
    get_method("egspo")(config=Config(num_selected=18)).check(decoding)
    with pytest.raises(UserError, match=r"num_selected=19 must lie between 1 and rollout\.num_steps=18"):
        get_method("egspo")(config=Config(num_selected=19)).check(decoding)


@pytest.mark.parametrize(("name", "title"), [("egspo", "EGSPO"), ("egspo-sa", "EGSPO"), ("agrpo", "AGRPO")])
def test_guided_rollouts_are_refused(name, title):
    with pytest.raises(UserError, match=rf"guidance_scale=0.5: {title}'s log-probabilities are unguided"):
        get_method(name)().check(Decoding(temperature=1.0, guidance_scale=0.5))


def test_the_loss_gradient_equals_reinforce_at_ratio_one(random_model):
    decoding = Decoding(completion_length=6, block_length=6, num_steps=3, temperature=1.0)
    rollout = generate(random_model, random_model.encode_prompts(["ab", "cd"]), decoding, torch.arange(2))
    reward_B = torch.tensor([1.0, 0.0], dtype=torch.float64)
    scored = ScoredRollouts(
        rollout=rollout, rewards=Rewards(total_B=reward_B, parts={"correctness": reward_B}), group_size=2
    )
    method = get_method("egspo")(config=Config(num_selected=3))
    prepared = method.prepare(scored, random_model, None, method.draw(scored, random_model, torch.Generator()))
    weight = random_model.predictor.transformer.model.norm.weight
    total = sum(method.loss(random_model, part)[0] for update in prepared.updates for part in update.parts)
    (ours,) = torch.autograd.grad(total, weight)
    expected = torch.zeros_like(weight)
    for step in range(3):
        tokens_BL, mask_BL = rollout.state_at(torch.full((2,), step))
        logits = random_model.logits(tokens_BL, mask_BL, torch.arange(2, 8).expand(2, -1))
        logprob = logits.log_softmax(-1).gather(-1, rollout.completion_ids_BC[:, :, None])[:, :, 0]
        step_logprob_B = (logprob * rollout.revealed_at(torch.full((2,), step))).sum(1)
        (gradient,) = torch.autograd.grad((torch.tensor([0.5, -0.5]) * step_logprob_B).sum(), weight)
        expected -= gradient / (2 * 2)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4)
