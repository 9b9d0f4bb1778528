"""Every convention of published training code against ours, at the place where it acts."""

import math

import pytest
import torch

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.config.conventions import Conventions
from harness.config.decoding import Decoding
from harness.config.tree import OptimizerConfig
from harness.diffusion.sampler import generate
from harness.distributed.shard import ALONE
from harness.records.jsonl import read_lines
from harness.records.run_folder import EVAL_FILE, METRICS_FILE
from harness.registry import get_method
from harness.rl.collect import Collector
from harness.rl.optimizer import adamw, learning_rate
from harness.rl.rewards import TaskRewards
from harness.rollout import Rewards, ScoredRollouts
from harness.task.base import Example, Reward

ZERO, AFTER = Conventions(warmup_start="zero"), Conventions(warmup_start="zero", decay_from="warmup")
COSINE = OptimizerConfig(learning_rate=1.0, schedule="cosine", warmup_updates=2)


def test_the_first_warmup_update_moves_the_weights_or_has_rate_0():
    config = OptimizerConfig(learning_rate=1.0, warmup_updates=4)
    assert [learning_rate(config, step=step, spent=0.0) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [learning_rate(config, ZERO, step=step, spent=0.0) for step in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_warmup_of_one_update_is_none_or_loses_it():
    config = OptimizerConfig(learning_rate=1.0, warmup_updates=1)
    assert [learning_rate(config, step=step, spent=0.0) for step in range(2)] == [1.0, 1.0]
    assert [learning_rate(config, ZERO, step=step, spent=0.0) for step in range(2)] == [0.0, 1.0]


def test_the_cosine_falls_from_the_start_or_from_the_end_of_the_warmup():
    ours = [learning_rate(COSINE, step=step, spent=step / 6) for step in range(6)]
    theirs = [learning_rate(COSINE, AFTER, step=step, spent=step / 6, spent_in_warmup=2 / 6) for step in range(6)]
    assert ours == pytest.approx([0.5, *((1 + math.cos(math.pi * step / 6)) / 2 for step in range(1, 6))])
    assert theirs == pytest.approx([0.0, 0.5, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])


@pytest.mark.parametrize(("schedule", "halfway"), [("cosine", 0.55), ("linear", 0.55)])
def test_a_schedule_ends_at_its_lowest_rate(schedule, halfway):
    config = OptimizerConfig(learning_rate=2.0, schedule=schedule, min_lr_rate=0.1)
    rates = [learning_rate(config, step=step, spent=step / 2) for step in range(3)]
    assert rates == pytest.approx([2.0, 2 * halfway, 0.2])


@pytest.mark.parametrize(
    ("which", "decaying_norms"),
    [
        ("matrices", []),
        ("not-block-norms", ["model.model.norm.weight"]),
        (
            "all",
            [
                "model.model.layers.0.input_layernorm.weight",
                "model.model.layers.0.post_attention_layernorm.weight",
                "model.model.layers.1.input_layernorm.weight",
                "model.model.layers.1.post_attention_layernorm.weight",
                "model.model.norm.weight",
            ],
        ),
    ],
)
def test_norms_decay_as_the_convention_says_and_matrices_always(random_model, which, decaying_norms):
    optimizer = adamw(random_model.network, OptimizerConfig(weight_decay=0.1), Conventions(weight_decay_on=which))
    decayed = {id(weight) for group in optimizer.param_groups if group["weight_decay"] for weight in group["params"]}
    names = [name for name, weight in random_model.network.named_parameters() if id(weight) in decayed]
    assert [name for name in names if "norm" in name] == decaying_norms
    matrices = [name for name, weight in random_model.network.named_parameters() if weight.ndim > 1]
    assert [name for name in names if "norm" not in name] == matrices


class Lengths:
    """A task that pays by the length of the text."""

    scores_elsewhere = False

    def rewards(self, examples, completions):
        return [Reward.of({"correctness": float(len(text))}) for text in completions]


@pytest.mark.parametrize(("past_end", "lengths"), [(False, [2.0, 3.0]), (True, [3.0, 3.0])])
def test_text_after_the_first_end_token_is_left_out_or_joined_on(random_model, past_end, lengths):
    end = random_model.special.end_ids[0]
    scores = TaskRewards(Lengths(), random_model, [Example(id="0", question="", target={})], past_end=past_end)
    ids_NC = torch.tensor([[5, 6, end, 7], [5, 6, 7, end]])
    assert scores(torch.tensor([0, 0]), ids_NC).total_B.tolist() == lengths


def test_pads_are_masked_or_attended_to_within_the_rows_that_are_padded_alike(random_model):
    texts = ["1", "12", "1", "1234"]
    masked = random_model.encode_prompts(texts).mask_BP
    assert masked.sum(1).tolist() == [1, 2, 1, 4]
    pairs = random_model.encode_prompts(texts, attended_padding=2)
    assert pairs.mask_BP.sum(1).tolist() == [2, 2, 4, 4]
    assert torch.equal(pairs.ids_BP, random_model.encode_prompts(texts).ids_BP)
    assert random_model.encode_prompts(texts, attended_padding=4).mask_BP is None


@pytest.fixture
def rollouts(random_model):
    """Three groups of four, cut into micro-batches of so many rows for so many passes."""
    decoding = Decoding(completion_length=12, block_length=6, num_steps=6, temperature=1.0, eos_policy="run")
    prompts = random_model.encode_prompts(["12+3=", "7*8=", "4321"], attended_padding=3).rows(
        torch.arange(3).repeat_interleave(4)
    )
    rollout = generate(random_model, prompts, decoding, torch.arange(12))
    end = random_model.special.end_ids[0]
    for row, place in enumerate([11, 3, 7, 9, 2, 5, 1, 11, 8, 8, 4, 10]):
        rollout.completion_ids_BC[row, place] = end
    reward_B = torch.arange(12, dtype=torch.float64) ** 2 % 7

    def cut(rows=0, passes=1):
        rewards = Rewards(total_B=reward_B, parts={"correctness": reward_B})
        return ScoredRollouts(
            rollout=rollout, rewards=rewards, group_size=4, micro_batch_rows=rows, accumulated_batches=passes
        )

    return cut


def spread_over(count_B, size):
    """Whether the values of every `size` successive rows lie in different of as many equal parts of 0..1."""
    return all(sorted((part * size).long().tolist()) == list(range(size)) for part in count_B.split(size))


def test_agrpo_spreads_its_draws_over_the_batch_or_over_each_micro_batch(random_model, rollouts):
    method = get_method("agrpo")(config=get_method("agrpo").Config(mc_samples=1))
    ours = method.draw(rollouts(), random_model, torch.Generator().manual_seed(1))[:, 0]
    theirs = method.draw(rollouts(4), random_model, torch.Generator().manual_seed(1))[:, 0]
    assert spread_over(ours, 12)
    assert not spread_over(ours, 4)
    assert spread_over(theirs, 4)


def test_espo_spreads_its_mask_counts_over_the_batch_or_over_each_micro_batch(random_model, rollouts):
    method = get_method("espo")(config=get_method("espo").Config(inner_updates=1, mc_samples=1))
    counts = {}
    for rows in (0, 4):
        masks = method.draw(rollouts(rows), random_model, torch.Generator().manual_seed(0))
        counts[rows] = masks.sum(-1).flatten().split(4)
    # 12 rows go round 0..12 in steps of one; 4 rows in steps of three.
    assert [len({*part.tolist()}) for part in counts[4]] == [4, 4, 4]
    assert all(max(part) - min(part) >= 9 for part in counts[4])
    assert sorted(torch.cat(counts[0]).diff().remainder(13).tolist()) == [1] * 10 + [2]


@pytest.mark.parametrize(("passes", "masks"), [(1, [0, 0, 0]), (2, [0, 1, 0])])
def test_d1_gives_each_accumulated_pass_masks_of_its_own(random_model, rollouts, passes, masks):
    method = get_method("d1")(config=get_method("d1").Config(inner_updates=4, beta=0.0))
    draws = torch.zeros(12, 4, rollouts().rollout.prompts.ids_BP.shape[1], dtype=torch.bool)
    draws[:, range(4), range(4)] = True
    prepared = method.prepare(rollouts(4, passes), random_model, None, draws)
    used = [
        (update.parts[0].tokens_BDL[:, 0, :4] == random_model.special.mask_id).long().argmax(1).tolist()
        for update in prepared.updates
    ]
    assert used == [[(passes * update + mask) % 4 for mask in masks for _ in range(4)] for update in range(4)]


def test_d1_divides_by_all_counted_tokens_or_each_micro_batch_by_its_own(random_model, rollouts):
    method = get_method("d1")(config=get_method("d1").Config(inner_updates=1, beta=0.0))
    draws = torch.zeros(12, 1, rollouts().rollout.prompts.ids_BP.shape[1], dtype=torch.bool)
    (ours,), (theirs,) = (method.prepare(rollouts(rows), random_model, None, draws).updates[0].parts for rows in (0, 4))
    counts = [int(part.sum()) for part in ours.counted_Nn.split(4)]
    assert len({*counts}) > 1
    assert (ours.weight_N == 1).all()
    assert ours.normaliser == theirs.normaliser == sum(counts)
    weights = [sum(counts) / 3 / count for count in counts for _ in range(4)]
    assert theirs.weight_N.tolist() == pytest.approx(weights)


def test_agrpo_makes_one_update_of_all_draws_or_one_per_draw_of_the_last_pass(random_model, rollouts):
    config = get_method("agrpo").Config(mc_samples=3, stepping="per-draw", last_draw_weight=2.0, loss_scale=0.5)
    uniform_BM = torch.rand(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = get_method("agrpo")(config=config)
    ours = get_method("agrpo")(config=get_method("agrpo").Config(mc_samples=3))
    (whole,) = ours.prepare(rollouts(), random_model, None, uniform_BM).updates
    updates = theirs.prepare(rollouts(6, 2), random_model, None, uniform_BM).updates
    assert (ours.updates_per_step, theirs.updates_per_step) == (1, 3)
    assert [[len(part.tokens_BL) for part in update.parts] for update in updates] == [[6, 6, 6, 6], [6], [6]]
    first, last = whole.parts[0].tokens_BL.split(6)
    assert torch.equal(updates[0].parts[0].tokens_BL, first)
    assert torch.equal(updates[0].parts[3].tokens_BL, last)
    assert torch.equal(updates[2].parts[0].tokens_BL, whole.parts[2].tokens_BL[6:])
    # Three draws of groups of four: 12, doubled by the scale; the last draw, of either pass, weighs twice.
    assert [part.normaliser for part in whole.parts] == [12, 12, 12]
    assert [[part.normaliser for part in update.parts] for update in updates] == [[24, 24, 12, 24], [24], [12]]


SMALL = {
    "train.batch_size": 8,
    "train.group_size": 4,
    "evaluation.items": 4,
    "evaluation.decoding.num_steps": 4,
    "rollout.num_steps": 4,
}


def trained(folder, method, **overrides):
    planned = plan(RunRequest(method=method, task="sudoku", runs=folder, overrides=SMALL | overrides))
    execute(planned, lambda event: None)
    return list(read_lines(planned.folder / METRICS_FILE)), list(read_lines(planned.folder / EVAL_FILE))


def test_agrpos_steps_draw_by_draw_count_as_one_of_the_budget_and_hold_their_rate(tmp_path):
    updates, evaluations = trained(
        tmp_path,
        "agrpo",
        **{
            "method.stepping": "per-draw",
            "method.mc_samples": 3,
            "optimizer.warmup_updates": 2,
            "optimizer.learning_rate": 1e-3,
            "conventions.warmup_start": "zero",
            "budget": {"updates": 3},
            "evaluation.every": 2,
        },
    )
    assert [line["learning_rate"] for line in updates] == [0.0] * 3 + [5e-4] * 3 + [1e-3] * 3
    assert [line["iteration"] for line in updates] == [1] * 3 + [2] * 3 + [3] * 3
    assert [(record["checkpoint"], record["update"]) for record in evaluations] == [
        ("base", 0),
        ("step", 6),
        ("last", 9),
    ]


def test_dropout_in_rollouts_changes_what_is_generated_reproducibly_and_no_evaluation_has_it(tmp_path):
    lora = {"model.lora.rank": 4, "model.lora.dropout": 0.5, "budget": {"updates": 4}, "optimizer.learning_rate": 0.05}
    off, _ = trained(tmp_path / "off", "egspo", **lora)
    on, base = trained(tmp_path / "on", "egspo", **lora, **{"conventions.dropout_in_rollouts": True})
    again, _ = trained(tmp_path / "again", "egspo", **lora, **{"conventions.dropout_in_rollouts": True})
    assert [line["loss"] for line in on] == [line["loss"] for line in again]
    assert on[-1]["step_entropy"] != off[-1]["step_entropy"]
    # A fresh adapter adds nothing, whatever dropout does to its input.
    assert on[0]["step_entropy"] == off[0]["step_entropy"]
    assert base[0]["metrics"] == trained(tmp_path / "base", "egspo", **lora)[1][0]["metrics"]


@pytest.mark.parametrize(("method", "old"), [("d1", "old_logprob_Nn"), ("espo", "old_score_BS")])
@pytest.mark.parametrize("on", [False, True])
def test_dropout_in_rollouts_is_in_old_log_probabilities_too(tmp_path, monkeypatch, method, old, on):
    cls, same = get_method(method), []
    prepare = cls.prepare

    def prepared_twice(self, *arguments):
        first, again = prepare(self, *arguments), prepare(self, *arguments)
        same.append(torch.equal(*(getattr(prepared.updates[0].parts[0], old) for prepared in (first, again))))
        return first

    monkeypatch.setattr(cls, "prepare", prepared_twice)
    lora = {"model.lora.rank": 4, "model.lora.dropout": 0.5, "optimizer.learning_rate": 0.05}
    overrides = {"method.inner_updates": 1, "budget": {"updates": 2}, "conventions.dropout_in_rollouts": on}
    trained(tmp_path, method, **lora, **overrides)
    # A fresh adapter adds nothing, whatever dropout does to its input.
    assert same == [True, not on]


@pytest.mark.parametrize(("rows", "masked"), [(0, True), (8, False)])
def test_rollouts_mask_pads_or_attend_to_them_as_configured(tmp_path, random_model, rows, masked):
    train = [Example(id=str(index), question="1" * (index + 1), target={}) for index in range(4)]
    overrides = SMALL | {"conventions.attended_padding": rows}
    planned = plan(RunRequest(method="egspo", task="gsm8k", runs=tmp_path, overrides=overrides))
    collector = Collector(
        planned.resolved.config,
        planned.resolved.execution,
        method=planned.method,
        task=planned.task,
        model=random_model,
        train=train,
        shard=ALONE,
    )
    prompts = collector.rollout(collector.examples(0), 0).prompts
    assert (prompts.mask_BP is not None) == masked


def test_of_every_n_batches_of_prompts_the_first_is_used(tmp_path):
    train = [Example(id=str(index), question="", target={}) for index in range(40)]
    seen = {}
    for stride in (1, 3):
        overrides = SMALL | {"conventions.prompt_stride": stride}
        planned = plan(RunRequest(method="egspo", task="sudoku", runs=tmp_path, overrides=overrides))
        collector = Collector(
            planned.resolved.config,
            planned.resolved.execution,
            method=planned.method,
            task=planned.task,
            model=None,
            train=train,
            shard=ALONE,
        )
        seen[stride] = [[example.id for example in collector.examples(iteration)] for iteration in range(12)]
    assert seen[3][:4] == seen[1][::3]


def test_text_past_the_end_is_seen_where_another_token_follows_an_end_token(random_model):
    end = random_model.special.end_ids[0]
    ids_NC = torch.tensor([[5, end, 7], [5, 6, end], [5, end, end], [5, 6, 7], [end, 6, end]])
    assert random_model.has_text_past_end(ids_NC).tolist() == [True, False, False, False, True]


def test_evaluations_state_the_forward_passes_apart(tmp_path):
    updates, evaluations = trained(tmp_path, "egspo-sa", budget={"updates": 2})
    assert evaluations[0]["flops_forward"] == 0
    assert evaluations[-1]["flops_forward"] == updates[-1]["flops_total"] - updates[-1]["flops_backward"]
    assert 0 < evaluations[-1]["flops_forward"] < evaluations[-1]["flops_total"]
    assert all(0 <= line["text_past_end"] <= 1 for line in updates)
