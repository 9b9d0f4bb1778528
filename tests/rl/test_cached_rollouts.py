"""What a method takes of a rollout that was made with cached keys and values."""

import dataclasses

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.registry import get_method
from harness.rollout import Rewards, RolloutNeeds, ScoredRollouts

PROMPTS = ["12+3=", "7*8=", "hello world:", "a"]
DUAL = Decoding(completion_length=12, block_length=4, num_steps=6, temperature=0.8, cache="dual", eos_policy="run")
REWARD = torch.tensor([0.0, 1.0, 0.5, 0.0], dtype=torch.float64)


def scored_with(model, decoding, **needs):
    prompts = model.encode_prompts(PROMPTS)
    rollout = generate(model, prompts, decoding, torch.arange(4), needs=RolloutNeeds(**needs))
    return ScoredRollouts(rollout=rollout, rewards=Rewards(total_B=REWARD, parts={"correctness": REWARD}), group_size=4)


@pytest.mark.parametrize("name", ["egspo", "agrpo", "d2-stepmerge", "tracerl"])
@pytest.mark.parametrize("truncation", [{}, {"top_k": 20, "top_p": 0.9}], ids=str)
def test_importance_ratios_are_1_before_the_first_update_of_a_cached_rollout(random_model, name, truncation):
    options = {
        "egspo": {"num_selected": 3},
        "agrpo": {"mc_samples": 3},
        "d2-stepmerge": {"segments": 3, "inner_updates": 2, "beta": 0.0},
        "tracerl": {"shrink": 2},
    }[name]
    kind = get_method(name)
    method = kind(config=kind.Config(**options))
    decoding = dataclasses.replace(DUAL, **truncation)
    method.check_record(decoding)
    shape = random_model.shape
    needs = vars(method.needs(shape, decoding, 12))
    scored = scored_with(random_model, decoding, **needs)
    prepared = method.prepare(scored, random_model, None, method.draw(scored, random_model, torch.Generator()))
    for update in prepared.updates:
        for part in update.parts:
            _, values = method.loss(random_model, part)
            torch.testing.assert_close(values["ratio"], torch.ones_like(values["ratio"]), atol=1e-4, rtol=0)


def test_rollouts_whose_record_a_method_cannot_take_are_refused():
    threshold = dataclasses.replace(DUAL, cache="none", threshold=0.9)
    for name in ("egspo", "egspo-sa", "agrpo", "d2-stepmerge"):
        with pytest.raises(UserError, match=r"rollout\.threshold, rollout\.factor and rollout\.entropy_bound"):
            get_method(name)().check_record(threshold)
    for name in ("bgpo", "d1", "espo", "gdpo", "gdsd", "coupled-grpo", "justgrpo", "tracerl"):
        get_method(name)().check_record(dataclasses.replace(threshold, cache="dual"))


def test_a_method_that_says_nothing_of_caches_is_refused_them():
    class Careless(get_method("espo")):
        takes_cached = takes_adaptive = False

    with pytest.raises(UserError, match="approximate"):
        Careless().check_record(DUAL)
    Careless().check_record(dataclasses.replace(DUAL, cache="none"))


@pytest.mark.parametrize(
    ("name", "option"), [("d1", "beta"), ("d1", "clip"), ("espo", "clip_low"), ("bgpo", "clip_high")]
)
def test_negative_weights_of_the_kl_term_and_clips_are_refused(name, option):
    cls, decoding = get_method(name), dataclasses.replace(DUAL, cache="none")
    cls(config=cls.Config(**{option: 0.0})).check_record(decoding)
    with pytest.raises(UserError, match=rf"method\.{option}=-0\.1 is negative; set it to 0 or above"):
        cls(config=cls.Config(**{option: -0.1})).check_record(decoding)
