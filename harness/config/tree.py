"""The configuration of a run, one frozen tree: what decides its outcome, and apart from it how it is executed. No
torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.config.build import build
from harness.config.conventions import Conventions
from harness.config.decoding import Decoding
from harness.config.keep import parse_keep
from harness.errors import UserError, require_choice, require_name, require_positive
from harness.task.base import SPLITS

SCHEDULES = ("constant", "cosine", "linear")
PROFILES = ("official", "agrpo", "espo", "correctness")
"""Training rewards: of EGSPO and d1, of AGRPO, of ESPO, and 1 for a right answer and 0 for any other."""
REWARDS = ("task", "random", *PROFILES)
DTYPES = ("float32", "bfloat16", "float16", "float64")
AUTO = "auto"
LORA_TARGETS = ("all", "official-subset", "all-and-head")
VALIDATION = "validation"
QUANTIZATIONS = ("", "nf4")
TRACKERS = ("", "tensorboard", "wandb", "trackio")
DDP, FSDP2 = "ddp", "fsdp2"
SHARDINGS = ("none", DDP, FSDP2)
CHOICES: Mapping[str, tuple[str, ...]] = {
    "reward": REWARDS,
    "model.dtype": (*DTYPES, AUTO),
    "model.compute_dtype": ("", *DTYPES),
    "model.lora.targets": LORA_TARGETS,
    "model.quantization": QUANTIZATIONS,
    "optimizer.schedule": SCHEDULES,
    "evaluation.split": SPLITS,
    "execution.sharding": SHARDINGS,
    "execution.track": TRACKERS,
}
"""By dotted key; those of other sections stand beside their classes."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters.

    rank: of the two factors of every adapter; 0 trains all weights instead. alpha: their product counts alpha / rank.
    dropout: how likely an input of an adapter is 0 in training. targets: `all` linear layers of the blocks;
    `official-subset`, q, k, v and up, what the published runs of EGSPO, d1 and ESPO trained; `all-and-head`, the output
    layer too, as AGRPO's did.
    """

    rank: int = 0
    alpha: float = 64.0
    dropout: float = 0.0
    targets: str = "all"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model and its adapters.

    name: `tiny`, `small`, a folder, or a hub id. dtype: of the weights; auto is that of the model's files.
    compute_dtype: of activations and products, where it is not that of the weights; bfloat16 with weights in float32
    needs execution.sharding=fsdp2.

    adapter: folder or hub id of published low-rank adapters. With lora.rank 0 they are trained on; with lora.rank above
    0 they are merged into the weights first. adapter_subfolder: where in it they lie. quantization: nf4 keeps the
    frozen linear layers in 4 bits (QLoRA, arXiv 2305.14314).
    """

    name: str = "tiny"
    dtype: str = "float32"
    compute_dtype: str = ""
    lora: LoraConfig = LoraConfig()
    adapter: str = ""
    adapter_subfolder: str = ""
    quantization: str = ""

    def check(self) -> None:
        """Raises UserError for values outside their range or at odds with each other."""
        for key in ("name", "adapter", "adapter_subfolder"):
            require_name(f"model.{key}", getattr(self, key))
        for key, value in {
            "model.dtype": self.dtype,
            "model.compute_dtype": self.compute_dtype,
            "model.lora.targets": self.lora.targets,
            "model.quantization": self.quantization,
        }.items():
            require_choice(key, value, CHOICES[key])
        if self.adapter_subfolder and not self.adapter:
            raise UserError(f"model.adapter_subfolder={self.adapter_subfolder!r} needs model.adapter.")
        if self.quantization and self.adapter and self.lora.rank:
            raise UserError("model.adapter cannot be merged into 4-bit weights; run harness export --merge first.")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Examples and prompts.

    test, train: where examples come from: builtin, hub, or a folder; empty for the default of the model. few_shot:
    worked training examples before each question. prompts: sha256 of the file of the user's own prompts.
    allow_packages: what model-written code may import beside the standard library.
    """

    test: str = ""
    train: str = ""
    few_shot: int = 0
    prompts: str = ""
    allow_packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The loop.

    batch_size: completions per rollout over all processes, a multiple of group_size. group_size: completions of one
    prompt, which are compared with each other. max_prompt_length: tokens of a prompt that rollouts see, its last ones;
    0 for all.
    """

    batch_size: int = 64
    group_size: int = 8
    max_prompt_length: int = 0


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW.

    learning_rate: the highest of the run. schedule: how the learning rate goes on after the warm-up until the budget
    ends. min_lr_rate: the share of it at which a cosine or linear schedule ends. warmup_updates: updates of its linear
    rise. beta1, beta2: decay of the means of gradients and of their squares. epsilon: added to the root of the latter.
    weight_decay: share of the weights that an update takes away, times the learning rate. max_gradient_norm: longer
    gradients are shortened to it.
    """

    learning_rate: float = 3e-4
    schedule: str = "constant"
    min_lr_rate: float = 0.0
    warmup_updates: int = 0
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    max_gradient_norm: float = 0.2


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """When training ends: at the first limit reached.

    updates: training steps, 0 for no limit. samples: completions generated for training, 0 for no limit. flops: of
    rollouts and updates, 0 for no limit. minutes: of training without evaluation, 0 for no limit.
    """

    updates: int = 0
    samples: int = 0
    flops: float = 0.0
    minutes: float = 0.0

    def spent(self, *, updates: int, samples: int, flops: float, minutes: float) -> float:
        """The fraction of the budget that is used up: of the limit that is nearest to being reached."""
        used = {"updates": updates, "samples": samples, "flops": flops, "minutes": minutes}
        return max(used[name] / limit for name, limit in dataclasses.asdict(self).items() if limit)

    def __str__(self) -> str:
        """As --budget takes it: `updates=48,minutes=30`."""
        return ",".join(f"{name}={limit}" for name, limit in dataclasses.asdict(self).items() if limit)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Held-out evaluation.

    every: updates between evaluations, 0 for the base and the last checkpoint alone. items: the first so many of the
    split. split: test, validation or train. decodings: what differs in each of several decodings from `decoding`, as
    `[{num_steps: 4}, {num_steps: 8}]`. lengths: completion lengths, each with the tokens per step of the decoding. All
    decodings are evaluated at all lengths; without either it is `decoding` alone. validation_items: how many items of
    the validation split each checkpoint is evaluated on besides, with the first decoding, so that one can be chosen
    without the test items.
    """

    every: int = 0
    items: int = 256
    split: str = "test"
    decoding: Decoding = Decoding()
    decodings: tuple[Mapping[str, Any], ...] = ()
    lengths: tuple[int, ...] = ()
    validation_items: int = 0

    @property
    def all_decodings(self) -> tuple[Decoding, ...]:
        """Every decoding once, in the order asked for. Raises UserError for options that are none."""
        base = dataclasses.asdict(self.decoding)
        chosen: list[Decoding] = [
            build(Decoding, {**base, **changes}, "evaluation.decoding") for changes in self.decodings or [{}]
        ]
        if self.lengths:
            chosen = [decoding.at_length(length) for decoding in chosen for length in self.lengths]
        return tuple(dict.fromkeys(chosen))


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """The method's name and its options, checked against the method's own Config class."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the outcome of a run.

    seed: of all random draws. reward: what training rewards: task and official, as EGSPO and d1 do; agrpo, espo, as
    these do; correctness, 1 for a right answer and 0 for any other; random, the control.
    """

    method: MethodConfig
    task: str
    seed: int = 0
    reward: str = "task"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    rollout: Decoding = Decoding(num_steps=4, temperature=1.0)
    train: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    conventions: Conventions = Conventions()
    budget: BudgetConfig = BudgetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def check(self) -> None:
        """Raises UserError for values outside their range or at odds with each other."""
        self.rollout.check("rollout")
        for decoding in self.evaluation.all_decodings:
            decoding.check("evaluation.decoding")
        require_positive("train", batch_size=self.train.batch_size, group_size=self.train.group_size)
        if self.train.batch_size % self.train.group_size:
            raise UserError(
                f"train.group_size={self.train.group_size} does not divide the global train.batch_size="
                f"{self.train.batch_size}; choose a divisor."
            )
        if not any(dataclasses.astuple(self.budget)):
            raise UserError("The run has no budget; give --budget updates=N, samples=N, flops=X or minutes=X.")
        for name, value in dataclasses.asdict(self.budget).items():
            if value < 0:
                raise UserError(f"budget.{name}={value} is negative; 0 means no limit.")
        if self.data.few_shot < 0:
            raise UserError(f"data.few_shot={self.data.few_shot} is negative; 0 means no worked examples.")
        require_choice("reward", self.reward, CHOICES["reward"])
        self.model.check()
        if self.model.quantization and not (self.model.lora.rank or self.model.adapter):
            raise UserError("model.quantization=nf4 freezes all weights; set model.lora.rank above 0.")
        require_choice("optimizer.schedule", self.optimizer.schedule, CHOICES["optimizer.schedule"])
        self.conventions.check(self.train.batch_size)
        require_positive("evaluation", items=self.evaluation.items)
        require_choice("evaluation.split", self.evaluation.split, CHOICES["evaluation.split"])
        if self.evaluation.validation_items < 0:
            raise UserError(f"evaluation.validation_items={self.evaluation.validation_items} is negative; 0 is none.")
        if self.evaluation.validation_items and self.evaluation.split == VALIDATION:
            raise UserError("evaluation.split=validation is evaluated anyway; leave evaluation.validation_items at 0.")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, the method's options beside its name, as in a recipe."""
        tree = dataclasses.asdict(self)
        tree["method"] = {"name": self.method.name, **self.method.options}
        return tree


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a run is executed: recorded, but no part of its name, since it changes results only through the rounding of
    floating-point numbers and, with model.lora.dropout above 0, through the draws of dropout.

    device: auto, cpu, cuda or cuda:N. tf32: GPUs multiply float32 matrices with inputs rounded to 10 bits. sharding:
    how several processes hold the weights: ddp, each of them all; fsdp2, a part each, gathered layer by layer; none
    refuses several processes. timeout_minutes: how long a process waits for the others before the job ends.

    micro_batch_size: sequences per forward-backward pass, 0 for all of a process; a method with several inputs per
    completion, such as ESPO, has as many sequences. rollout_batch_size: prompts per forward pass of a rollout, 0 for
    all of a process. evaluation_batch_size: prompts per forward pass of an evaluation. Batches that do not fit into the
    memory are halved. cuda_graphs: forward passes without gradient start their kernels all at once, which is faster
    where they are short. compile: torch compiles the layers, which takes a while at the first passes and makes all
    later ones faster. pack_weights: on a processor completions are generated with a second copy of the weights, in an
    order that is faster to multiply by. activation_checkpointing: a layer's activations are computed again in the
    backward pass instead of kept. merge_adapters: into the weights while completions are generated, which is faster but
    rounds them to their dtype; how far that moves log-probabilities is recorded.

    checkpoint_every: rollouts between checkpoints. checkpoint_minutes: minutes between checkpoints, 0 for no limit; of
    the two limits the first reached counts. keep: which checkpoints stay: last, all, a number, every=UPDATES or
    best=validation. grace_seconds: how long a run that is asked to end by a signal may take over it; after what takes
    longer it makes a checkpoint.

    track: the experiment tracker that is told of everything recorded, besides the run folder; empty for none.
    """

    device: str = "auto"
    tf32: bool = False
    sharding: str = DDP
    micro_batch_size: int = 0
    rollout_batch_size: int = 0
    evaluation_batch_size: int = 64
    cuda_graphs: bool = False
    compile: bool = False
    pack_weights: bool = False
    activation_checkpointing: bool = False
    merge_adapters: bool = False
    checkpoint_every: int = 50
    checkpoint_minutes: float = 10.0
    keep: str = "last"
    grace_seconds: float = 20.0
    timeout_minutes: float = 60.0
    track: str = ""

    def check(self) -> None:
        """Raises UserError for values outside their range; whether the device exists is found when a model loads."""
        require_positive(
            "execution",
            checkpoint_every=self.checkpoint_every,
            evaluation_batch_size=self.evaluation_batch_size,
            timeout_minutes=self.timeout_minutes,
        )
        require_choice("execution.sharding", self.sharding, CHOICES["execution.sharding"])
        parse_keep(self.keep)
        require_choice("execution.track", self.track, CHOICES["execution.track"])
        for name, meaning in {
            "micro_batch_size": "the whole batch",
            "rollout_batch_size": "the whole batch",
            "checkpoint_minutes": "no limit",
            "grace_seconds": "to end at once",
        }.items():
            if getattr(self, name) < 0:
                raise UserError(f"execution.{name}={getattr(self, name)} is negative; 0 is {meaning}.")
