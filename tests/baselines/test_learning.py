"""Settings with which a run cannot learn: refused before anything is made, and no others."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch

from harness.config.decoding import Decoding
from harness.config.learning import check_learning
from harness.config.tree import LoraConfig, MethodConfig, ModelConfig, OptimizerConfig, RunConfig, TrainConfig
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.randomness import row_seeds, stream
from harness.registry import get_method
from harness.rollout import Rewards

specification = importlib.util.spec_from_file_location("small_methods", Path(__file__).parents[1] / "small_methods.py")
small_methods = importlib.util.module_from_spec(specification)
specification.loader.exec_module(small_methods)

GREEDY = Decoding(completion_length=12, block_length=6, num_steps=6, temperature=0.0, eos_policy="run")


def config(name="egspo", *, group_size=4, **changes):
    train = TrainConfig(batch_size=4, group_size=group_size)
    return dataclasses.replace(RunConfig(method=MethodConfig(name=name), task="sudoku", train=train), **changes)


def made(name, **options):
    cls = get_method(name)
    return cls(config=cls.Config(**options))


@pytest.mark.parametrize("name", small_methods.NAMES)
def test_groups_of_one_and_greedy_rollouts_are_refused_by_every_method(name):
    method = made(name)
    method.check_learning(config(name))
    with pytest.raises(UserError, match=f"train.group_size=1: {name} compares with the other completions"):
        method.check_learning(config(name, group_size=1))
    with pytest.raises(UserError, match=f"rollout.temperature=0 makes all completions of a prompt equal, and {name}"):
        method.check_learning(config(name, rollout=GREEDY))
    with pytest.raises(UserError, match=r"rollout\.top_k=1 makes all completions .* set it to 0 for none"):
        method.check_learning(config(name, rollout=Decoding(temperature=1.0, top_k=1)))
    method.check_learning(config(name, rollout=dataclasses.replace(GREEDY, remasking="random")))
    method.check_learning(config(name, rollout=GREEDY, reward="random"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("egspo", {"baseline": "none"}),
        ("egspo-sa", {"baseline": "none"}),
        ("egspo-sa", {"stepwise_after_baseline": True}),
        ("dmpo", {"alpha": -1.0}),
    ],
)
def test_a_completion_that_teaches_alone_needs_no_others(name, options):
    made(name, **options).check_learning(config(name, group_size=1))
    made(name, **options).check_learning(config(name, rollout=GREEDY))


def test_random_steps_have_greedy_completions_of_their_own_but_groups_of_one_nothing_to_compare():
    method = made("egspo-sa", selection="random")
    method.check_learning(config("egspo-sa", rollout=GREEDY))
    with pytest.raises(UserError, match="group_size=1"):
        method.check_learning(config("egspo-sa", group_size=1))
    with pytest.raises(UserError, match="temperature=0"):
        made("egspo", selection="random").check_learning(config(rollout=GREEDY))


@pytest.mark.parametrize("name", small_methods.NAMES)
def test_a_group_of_one_has_the_same_advantages_whatever_it_earned(name, random_model, scored, score):
    random_model.keep_reference()
    method, found = small_methods.small_method(name), []
    for rewards in (scored.rewards.total_B, torch.arange(12.0)):
        alone = dataclasses.replace(
            scored, group_size=1, rewards=Rewards(total_B=rewards, parts={"correctness": rewards})
        )
        draws = method.draw(alone, random_model, torch.Generator().manual_seed(11))
        try:
            found.append(method.prepare(alone, random_model, score, draws).advantages)
        except UserError as refused:
            assert "train.group_size=1" in str(refused)  # noqa: PT017  (some say so themselves)
            return
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("changes", "differ"),
    [({}, False), ({"temperature": 1.0, "top_k": 1}, False), ({"remasking": "random"}, True)],
)
def test_completions_of_a_prompt_differ_where_something_is_drawn(random_model, changes, differ):
    prompts = random_model.encode_prompts(["12+3="] * 4)
    rollout = generate(random_model, prompts, dataclasses.replace(GREEDY, **changes), row_seeds(4, stream(0, "rows")))
    assert (len(set(map(tuple, rollout.completion_ids_BC.tolist()))) > 1) == differ


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": OptimizerConfig(epsilon=0.0)}, "optimizer.epsilon=0.0 must be above 0"),
        ({"optimizer": OptimizerConfig(max_gradient_norm=0.0)}, "optimizer.max_gradient_norm=0.0 must be above 0"),
        ({"optimizer": OptimizerConfig(beta2=1.0)}, "optimizer.beta2=1.0 must be at least 0 and below 1"),
        ({"optimizer": OptimizerConfig(warmup_updates=-1)}, "optimizer.warmup_updates=-1 is negative"),
        ({"optimizer": OptimizerConfig(learning_rate=float("inf"))}, "optimizer.learning_rate=inf is not finite"),
        ({"model": ModelConfig(lora=LoraConfig(rank=4, dropout=1.5))}, "model.lora.dropout=1.5 must be at least 0"),
        ({"train": TrainConfig(max_prompt_length=-1)}, "train.max_prompt_length=-1 is negative"),
    ],
)
def test_values_that_no_update_can_do_with_are_named(changes, said):
    with pytest.raises(UserError, match=said):
        check_learning(config(**changes))


def test_what_only_looks_wrong_is_left_alone():
    check_learning(config(optimizer=OptimizerConfig(max_gradient_norm=float("inf"), beta1=0.0, weight_decay=0.0)))
    check_learning(config(model=ModelConfig(lora=LoraConfig(rank=0, alpha=0.0))))
