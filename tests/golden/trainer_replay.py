"""Replays a recorded run of an official trainer through our own, with its rollouts and draws injected."""

import dataclasses

import torch

from harness.config.conventions import Conventions
from harness.config.decoding import Decoding
from harness.config.tree import (
    BudgetConfig,
    EvaluationConfig,
    Execution,
    LoraConfig,
    MethodConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
)
from harness.models.adapters import PEFT_PREFIX, adapted_layers, pair
from harness.models.layouts import LAYOUTS
from harness.registry import get_method
from harness.rl.collect import Collector
from harness.rl.evaluator import Data
from harness.rl.loop import Trainer, Updated
from harness.rollout import Prompts, Rollout
from harness.task.base import Example, Ratio, Reward, Score, TextTask

TRACES = ("egspo_sa", "egspo_sa_full", "d1", "d1_acc2", "agrpo_m4", "agrpo_m24", "espo")
SPECIAL = (509, 510)
LAYOUT = LAYOUTS["llada"]


class Numbers:
    """A tokenizer whose text is the ids themselves; special tokens have none."""

    def encode(self, text):
        return [int(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(str(index) for index in ids if index not in SPECIAL)


class ToyTask(TextTask):
    """The rewards of the traces, computed from the text."""

    name = "toy"

    def __init__(self, weights):
        super().__init__()
        self.weights = dict(zip(("format", "correctness"), weights, strict=True))

    def examples(self, split, source):
        raise AssertionError

    def prompt(self, example):
        raise AssertionError

    def grade(self, example, completion, grader):
        raise AssertionError

    def reward_parts(self, example, completion):
        raise AssertionError

    def compact_prompt(self, example):
        return example.question

    def rewards(self, examples, completions):
        return [self._reward_of([int(word) for word in text.split()]) for text in completions]

    def score(self, examples, completions):
        return [
            Score(
                reward=0.0,
                correct=False,
                parts={},
                metrics=dict.fromkeys(self.metrics, Ratio(part=0.0)),
                extracted=None,
            )
            for _ in completions
        ]

    def _reward_of(self, ids):
        parts = {
            "format": sum(index % 3 == 0 for index in ids) / 16,
            "correctness": sum(7 * index % 11 for index in ids) / 100,
        }
        return Reward(total=sum(self.weights[name] * part for name, part in parts.items()), parts=parts)


@dataclasses.dataclass(frozen=True)
class Trace:
    """meta, tensors: the two files of a trace. together: rollouts of one training step, one per accumulated batch."""

    name: str
    meta: dict
    tensors: dict

    @property
    def official(self):
        return self.meta["config"]

    @property
    def together(self):
        return 2 if self.name in ("d1_acc2", "agrpo_m4", "agrpo_m24") else 1

    @property
    def num_steps(self):
        return self.official.get("diffusion_steps") or self.official["sampling_steps"]

    def rollout(self, name, iteration):
        """A rollout's tensor, those of one training step below each other."""
        numbers = range(iteration * self.together, (iteration + 1) * self.together)
        return torch.cat([self.tensors[f"rollout{number}/{name}"] for number in numbers])

    def step(self, number, name):
        return self.tensors[f"step{number}/{name}"]


OPTIONS = {
    "egspo_sa": lambda official: {
        "num_selected": official["logps_eval_num_steps"],
        "clip_low": official["epsilon"],
        "clip_high": official["epsilon_high"],
        "beta": official["beta"],
        "stepwise_lambda": official["lambda1"],
        "slots_per_update": official["gradient_accumulation_steps"],
    },
    "d1": lambda official: {
        "inner_updates": official["num_iterations"],
        "p_mask_prompt": official["p_mask_prompt"],
        "clip": official["epsilon"],
        "beta": official["beta"],
    },
    "agrpo": lambda official: {
        "mc_samples": official["mc_samples"],
        "importance": official["importance_sampling"],
        "clip_low": official["epsilon"],
        "clip_high": official["epsilon"],
        "beta": official["beta"],
        "divisor": "batch",
        "stepping": "per-draw",
        "last_draw_weight": 2.0,
        "loss_scale": 0.5,
    },
    "espo": lambda official: {
        "inner_updates": official["num_iterations"],
        "mc_samples": official["num_mc"],
        "clip_low": official["epsilon_low"],
        "clip_high": official["epsilon_high"],
        "beta": official["beta"],
    },
}
METHODS = {"egspo_sa": "egspo-sa", "d1": "d1", "agrpo": "agrpo", "espo": "espo"}


def family(trace):
    return next(name for name in METHODS if trace.name.startswith(name))


def configuration(trace, **changes):
    """The official options in our words; changes: other conventions or method options, to see what they do."""
    official, rows = trace.official, trace.official["per_device_train_batch_size"]
    warmup = official.get("warmup_steps")
    conventions = {
        "warmup_start": "zero",
        "decay_from": "warmup",
        "weight_decay_on": "not-block-norms" if trace.meta["lora"] is None else "matrices",
        "reward_text": "all",
        "micro_batch_rows": rows if trace.together > 1 else 0,
        "accumulated_batches": trace.together,
    }
    options = OPTIONS[family(trace)](official)
    return RunConfig(
        method=MethodConfig(
            name=METHODS[family(trace)],
            options=options | {name: value for name, value in changes.items() if name in options},
        ),
        task="toy",
        train=TrainConfig(batch_size=len(trace.rollout("completion_ids", 0)), group_size=official["num_generations"]),
        optimizer=OptimizerConfig(
            learning_rate=official["learning_rate"],
            schedule="cosine" if official["lr_scheduler_type"] == "cosine" else "constant",
            warmup_updates=1 if warmup is None else warmup,
            beta1=official["adam_beta1"],
            beta2=official["adam_beta2"],
            epsilon=official["adam_epsilon"],
            weight_decay=official["weight_decay"],
            max_gradient_norm=official["max_grad_norm"],
        ),
        conventions=Conventions(
            **conventions | {name: value for name, value in changes.items() if name in conventions}
        ),
        budget=BudgetConfig(updates=official["max_steps"]),
        evaluation=EvaluationConfig(decoding=Decoding(completion_length=4, block_length=4, num_steps=1)),
    )


def recorded_draws(trace, iteration):
    """What `draw` would give, from the trace; EGSPO-SA draws nothing, its steps follow from the entropies."""
    mask_id, prompt_length = trace.meta["mask_id"], trace.rollout("prompt_ids", iteration).shape[1]
    numbers = range(iteration * trace.together, (iteration + 1) * trace.together)
    match family(trace):
        case "d1":
            masks = [
                trace.tensors[f"rollout{number}/perturbed_ids"][:, :, :prompt_length] == mask_id for number in numbers
            ]
            # The official counter is increased before its first use: mask 1 comes first.
            return torch.cat(masks, 1).transpose(0, 1).roll(-1, 1)
        case "espo":
            is_masked_AUMRC = trace.rollout("perturbed_ids", iteration)[..., prompt_length:] == mask_id
            return is_masked_AUMRC.permute(0, 3, 1, 2, 4).flatten(0, 1)
        case "agrpo":
            micros = [(trace.tensors[f"micro{n}/rows"], trace.tensors[f"micro{n}/uniforms"]) for n in numbers]
            return torch.cat([uniform_BM[row_B.argsort()] for row_B, uniform_BM in micros]).double()


def recorded_rollout(trace, iteration):
    unmask_step_BC, steps = trace.rollout("unmask_step", iteration), trace.num_steps
    completion_BC = trace.rollout("completion_ids", iteration)
    filler_BC, recorded = torch.zeros_like(completion_BC, dtype=torch.bool), {}
    if family(trace) == "agrpo":
        kept_BCV = trace.rollout("sampling_masks", iteration)
        filler_BC = kept_BCV.all(-1)
        recorded = {
            "behaviour_logprob_BC": trace.rollout("old_token_logps", iteration),
            "behaviour_entropy_BC": trace.rollout("old_token_entropies", iteration),
            "support_ids_BCk": support_ids(kept_BCV & ~filler_BC[:, :, None]),
            "temperature": trace.official["temperature"],
        }
    nothing_BC = torch.zeros(completion_BC.shape)
    is_egspo = family(trace) == "egspo_sa"
    return Rollout(
        prompts=Prompts(ids_BP=trace.rollout("prompt_ids", iteration), mask_BP=None),
        completion_ids_BC=completion_BC,
        unmask_step_BC=unmask_step_BC.masked_fill(filler_BC, steps).to(torch.int16),
        logprob_BC=trace.rollout("old_token_logps", iteration) if is_egspo else nothing_BC,
        entropy_BC=trace.rollout("old_token_entropies", iteration) if is_egspo else nothing_BC,
        num_steps_B=unmask_step_BC.masked_fill(~filler_BC, steps).amin(1).to(torch.int16),
        num_steps=steps,
        mask_id=trace.meta["mask_id"],
        **recorded,
    )


def support_ids(is_kept_BCV):
    """Bool masks over the vocabulary as token ids, padded with -1."""
    size = is_kept_BCV.shape[2]
    sorted_BCV = torch.where(is_kept_BCV, torch.arange(size, dtype=torch.int32), size).sort(-1).values
    support_BCk = sorted_BCV[:, :, : int(is_kept_BCV.sum(-1).max())]
    return torch.where(support_BCk == size, -1, support_BCk)


def policy(trace, golden_model):
    """The tiny LLaDA, with the initial adapters of the trace."""
    lm, lora = golden_model("llada_tiny"), trace.meta["lora"]
    lm.tokenizer, lm.compact_prompts = Numbers(), True
    if lora is not None:
        targets = "all-and-head" if family(trace) == "agrpo" else "official-subset"
        lm.add_lora(
            LoraConfig(rank=lora["rank"], alpha=lora["alpha"], dropout=lora["dropout"], targets=targets), seed=0
        )
        with torch.no_grad():
            for name, weight in trainable(lm).items():
                weight.copy_(trace.tensors[f"initial/{name}"])
    assert set(trainable(lm)) == set(trace.meta["trainable"])
    return lm


def trainable(lm):
    """The trained weights under their official names."""
    if not lm.lora_ranks:
        return {LAYOUT.official_tensor(name): weight for name, weight in lm.predictor.model.named_parameters()}
    return {
        f"{PEFT_PREFIX}{LAYOUT.official_module(name)}.{part}.default.weight": weight
        for name, layer in adapted_layers(lm.predictor.model)
        for part, weight in pair(layer).items()
    }


def replay(trace, golden_model, folder, *, frozen="nothing", **changes):
    """Trains as the trace says; yields per optimiser step its record, the weights and the rollout's Prepared.

    frozen: adapters of layers with this in their names stay as they are, which is as good as none.
    """
    config = configuration(trace, **changes)
    task, lm, prepared = ToyTask(trace.official["reward_weights"]), policy(trace, golden_model), []
    for name, weight in trainable(lm).items():
        weight.requires_grad_(frozen not in name)
    method_class = get_method(config.method.name)

    class Replayed(method_class):
        def draw(self, scored, policy, generator):
            draws = recorded_draws(trace, len(prepared))
            return super().draw(scored, policy, generator) if draws is None else draws

        def prepare(self, *arguments):
            prepared.append(super().prepare(*arguments))
            return prepared[-1]

    class Recorded(Collector):
        def examples(self, iteration):
            return [Example(id=f"{row}", question="1 2 3", target={}) for row in range(config.train.batch_size)]

        def rollout(self, examples, iteration, expect):
            return recorded_rollout(trace, iteration)

    method = Replayed(config=method_class.Config(**config.method.options))
    trainer = Trainer(
        config,
        execution=Execution(device="cpu"),
        method=method,
        task=task,
        model=lm,
        data=Data(train=[], evaluation=[Example(id="0", question="1 2 3", target={})], evaluation_label="none"),
        folder=folder,
    )
    trainer.collector = Recorded(
        config, trainer.execution, method=method, task=task, model=lm, train=[], shard=trainer.shard
    )
    trainer.optimizer.register_step_pre_hook(keep_gradients)
    for event in trainer.run():
        if isinstance(event, Updated):
            yield event.record, trainable(lm), prepared[-1]


def keep_gradients(optimizer, *_):
    """Those of a step, which an update gives up after it."""
    for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
        weight.stepped_with = weight.grad


def expected_loss(trace, number):
    """The loss of an optimiser step: the mean of its micro-batches'; for AGRPO half of what was handed to backward."""
    if family(trace) != "agrpo":
        used = [n for n, micro in enumerate(trace.meta["micro_batches"]) if micro["optimizer_step"] == number]
        return torch.stack([trace.tensors[f"micro{n}/loss"] for n in used]).mean().double()
    step = trace.meta["steps"][number]
    handed = trace.tensors[f"micro{step['micro_batch']}/loss_backpropagated"][step["draw"]]
    if step["draw"] == 0:
        handed = handed + trace.tensors[f"micro{step['micro_batch'] - 1}/loss_backpropagated"].sum()
    return handed / 2


def relative(ours, official):
    """Difference of norms, relative, less the 1e-7 that are always allowed."""
    return float((((ours - official).abs() - 1e-7).clamp_min(0) / official.clamp_min(1e-12)).max())


def deviations(trace, number, record, weights):
    """Per quantity, by how much an optimiser step differs."""
    ordered = [weights[name].detach() for name in trace.meta["trainable"]]
    found = {
        "learning_rate": abs(record.learning_rate - trace.step(number, "learning_rate").item()),
        "loss": abs(record.loss - expected_loss(trace, number).item()),
        "grad_norm": relative(torch.tensor(record.gradient_norm, dtype=torch.float64), trace.step(number, "grad_norm")),
        "weight_sum": _largest(torch.stack([w.double().sum() for w in ordered]), trace.step(number, "weight_sum")),
        "weight_norm": _largest(torch.stack([w.double().norm() for w in ordered]), trace.step(number, "weight_norm")),
        "weight": max(
            (_largest(weights[name].detach(), value) for name, value in kept_weights(trace, number)), default=0.0
        ),
    }
    if f"step{number}/grad_norm_per_tensor" in trace.tensors:
        clipped = min(1.0, trace.official["max_grad_norm"] / (record.gradient_norm + 1e-6))
        norms = torch.stack([weights[name].stepped_with.double().norm() / clipped for name in trace.meta["trainable"]])
        found["grad_norm_per_tensor"] = relative(norms, trace.step(number, "grad_norm_per_tensor"))
    return found


def kept_weights(trace, number):
    prefix = f"step{number}/weight/"
    return [(name.removeprefix(prefix), value) for name, value in trace.tensors.items() if name.startswith(prefix)]


def _largest(ours, official):
    return float((ours - official).abs().max())
