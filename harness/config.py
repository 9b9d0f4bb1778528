"""The configuration of a run: one frozen tree, resolved from defaults < recipe < command line. No torch.

Unknown keys and values of a wrong type raise UserError with the nearest key and the choices. Where every value came
from is kept beside it (`Resolved.provenance`), and `RunConfig.hash` names the run's folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.decoding import Decoding
from harness.errors import UserError, require_choice, require_positive, unknown_choice

SCHEDULES = ("constant", "cosine", "linear")
PROFILES = ("official", "agrpo", "espo", "correctness")
"""Training rewards: of EGSPO and d1, of AGRPO, of ESPO, and 1 for a right answer and 0 for any other."""
REWARDS = ("task", "random", *PROFILES)
DTYPES = ("float32", "bfloat16", "float16", "float64")
LORA_TARGETS = ("all", "official-subset")
QUANTIZATIONS = ("", "nf4")


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters. rank 0 trains all weights; `official-subset` is q, k, v and up, what the published runs
    trained."""

    rank: int = 0
    alpha: float = 64.0
    dropout: float = 0.0
    targets: str = "all"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """`name` is `tiny`, a folder, or a hub id; `device` is auto, cpu, cuda or cuda:N.

    adapter: folder or hub id of published low-rank adapters, adapter_subfolder: where in it they lie. With lora.rank 0
    they are trained on; with lora.rank above 0 they are merged into the weights first. quantization: nf4 keeps the
    frozen linear layers in 4 bits (QLoRA, arXiv 2305.14314).
    """

    name: str = "tiny"
    dtype: str = "float32"
    device: str = "auto"
    lora: LoraConfig = LoraConfig()
    adapter: str = ""
    adapter_subfolder: str = ""
    quantization: str = ""

    def check(self) -> None:
        """Raises UserError for values outside their range or at odds with each other."""
        require_choice("model.dtype", self.dtype, DTYPES)
        require_choice("model.lora.targets", self.lora.targets, LORA_TARGETS)
        require_choice("model.quantization", self.quantization, QUANTIZATIONS)
        if self.adapter_subfolder and not self.adapter:
            raise UserError(f"model.adapter_subfolder={self.adapter_subfolder!r} needs model.adapter.")
        if self.quantization and self.adapter and self.lora.rank:
            raise UserError("model.adapter cannot be merged into 4-bit weights; run harness export --merge first.")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Sources of examples: builtin, hub, or a folder. Empty means the default of the model.

    few_shot: worked training examples before each question. prompts: sha256 of the file of the user's own prompts.
    """

    test: str = ""
    train: str = ""
    few_shot: int = 0
    prompts: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The loop. batch_size: completions per rollout over all processes, a multiple of group_size.

    micro_batch_size: rows per forward-backward pass, 0 for all; it changes memory, never results. checkpoint_every:
    rollouts between checkpoints.
    """

    batch_size: int = 64
    group_size: int = 8
    micro_batch_size: int = 0
    checkpoint_every: int = 50
    max_prompt_length: int = 0


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW. warmup_updates: linear rise of the learning rate; schedule: what follows until the budget ends."""

    learning_rate: float = 3e-4
    schedule: str = "constant"
    warmup_updates: int = 0
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    max_gradient_norm: float = 0.2


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """When training ends: at the first limit reached; 0 is no limit. FLOPs are those of rollouts and updates."""

    updates: int = 0
    samples: int = 0
    flops: float = 0.0
    minutes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Held-out evaluation. every: updates between evaluations, 0 for the base and the last checkpoint alone."""

    every: int = 0
    items: int = 256
    split: str = "test"
    batch_size: int = 64
    decoding: Decoding = Decoding()


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """The method's name and its options, checked against the method's own Config class."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the outcome of a run."""

    method: MethodConfig
    task: str
    seed: int = 0
    reward: str = "task"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    rollout: Decoding = Decoding(num_steps=4, temperature=1.0)
    train: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    budget: BudgetConfig = BudgetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def check(self) -> None:
        """Raises UserError for values outside their range or at odds with each other."""
        self.rollout.check("rollout")
        self.evaluation.decoding.check("evaluation.decoding")
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
        require_choice("reward", self.reward, REWARDS)
        self.model.check()
        if self.model.quantization and not (self.model.lora.rank or self.model.adapter):
            raise UserError("model.quantization=nf4 freezes all weights; set model.lora.rank above 0.")
        require_choice("optimizer.schedule", self.optimizer.schedule, SCHEDULES)
        require_positive("optimizer", learning_rate=self.optimizer.learning_rate)
        require_positive("evaluation", items=self.evaluation.items, batch_size=self.evaluation.batch_size)
        require_positive("train", checkpoint_every=self.train.checkpoint_every)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, the method's options beside its name, as in a recipe."""
        tree = dataclasses.asdict(self)
        tree["method"] = {"name": self.method.name, **self.method.options}
        return tree

    @property
    def hash(self) -> str:
        """Eight hex digits over everything but the seed and the device; names the run's folder."""
        tree = self.to_dict()
        del tree["seed"], tree["model"]["device"]
        # Settings younger than the first recorded runs count where they are used, so that those keep their names.
        tree["data"] = {key: value for key, value in tree["data"].items() if value or key in ("test", "train")}
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A configuration and, per dotted key, where its value came from: default, recipe or command line."""

    config: RunConfig
    recipe: str
    provenance: Mapping[str, str]


def resolve(
    *,
    method: str,
    method_config: type,
    task: str,
    recipe: str,
    recipe_tree: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> Resolved:
    """Merges defaults, recipe and command line into a checked RunConfig.

    method_config: the method's frozen Config dataclass. recipe_tree: nested mapping. overrides: dotted key to value; an
    override of `budget` as a whole replaces the recipe's. Raises UserError for unknown keys and wrong values.
    """
    tree: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for key, value in flatten(recipe_tree).items():
        _plant(tree, key, value)
        provenance[key] = "recipe"
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            _prune(tree, key)
            provenance = {known: source for known, source in provenance.items() if not known.startswith(key + ".")}
        for leaf, leaf_value in flatten({key: value}).items():
            _plant(tree, leaf, leaf_value)
            provenance[leaf] = "command line"
    options = build(method_config, tree.pop("method", {}), "method")
    for reserved in ("task",):
        if reserved in tree:
            raise UserError(f"'{reserved}' is chosen by --{reserved}, not by a recipe or --set.")
    head = {"method": MethodConfig(name=method, options=dataclasses.asdict(options)), "task": task}
    config = build(RunConfig, {**tree, **head}, "")
    config.check()
    keys = flatten(config.to_dict())
    return Resolved(
        config=config,
        recipe=recipe,
        provenance={key: provenance.get(key, "default") for key in keys if key not in ("method.name", "task")},
    )


def build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """Makes the frozen dataclass `cls` from nested mappings, checking names and types.

    Raises UserError naming the dotted key, the value and what is allowed.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"'{where}' must hold keys, not the value {values!r}.")
    hints = typing.get_type_hints(cls)
    fields = {item.name for item in dataclasses.fields(cls)}
    arguments = {}
    for name, value in values.items():
        key = f"{where}.{name}" if where else str(name)
        if name not in fields:
            raise unknown_choice("configuration key", key, [f"{where}.{item}" if where else item for item in fields])
        arguments[name] = _coerce(hints[name], value, key)
    return cls(**arguments)


def _coerce(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else build(typing.cast(type, hint), value, key)
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        hint = next(choice for choice in typing.get_args(hint) if choice is not type(None))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    expected = typing.get_origin(hint) or hint
    if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{key}={value!r} is not {_describe(hint)}.")
    return value


def _describe(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return words.get(hint, f"of type {getattr(hint, '__name__', hint)}")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{key}."))
        else:
            flat[key] = value
    return flat


def _plant(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, leaf = key.split(".")
    for name in path:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise UserError(f"'{key}' reaches into '{name}', which is a value and has no keys.")
    tree[leaf] = value


def _prune(tree: dict[str, Any], key: str) -> None:
    *path, leaf = key.split(".")
    for name in path:
        tree = tree.get(name, {})
    tree.pop(leaf, None)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Reads `key=value` texts; values are YAML scalars. Raises UserError where the form is another."""
    parsed = {}
    for text in settings:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise UserError(f"'{text}' is not of the form key=value.")
        parsed[key.strip()] = _yaml(value, f"the value of '{key}'")
    return parsed


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping of dotted keys as nested mappings. Raises UserError where a key reaches into a value."""
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        _plant(tree, key, value)
    return tree


def parse_budget(text: str) -> dict[str, Any]:
    """Reads `updates=48` or `samples=1e4,minutes=30`. Raises UserError for another form or unknown limits."""
    budget = parse_settings([part for part in text.split(",") if part])
    if not budget:
        raise UserError("--budget is empty; give updates=N, samples=N, flops=X or minutes=X.")
    build(BudgetConfig, budget, "budget")
    return budget


def load_recipe(name: str, *, method: str, task: str, folder: Path) -> Mapping[str, Any]:
    """The nested mapping of a recipe: `tiny` or `paper` from `<folder>/<method>/<task>.yaml`, or a YAML file of the
    user.

    Raises UserError where the file, or the named section in it, is missing or is not a mapping.
    """
    if name.endswith((".yaml", ".yml")):
        return _recipe_file(Path(name))
    path = folder / method / f"{task}.yaml"
    if not path.is_file():
        known = sorted(str(item.relative_to(folder).with_suffix("")) for item in folder.glob("*/*.yaml"))
        raise UserError(
            f"No recipe '{name}' for method '{method}' on task '{task}'. Recipes exist for: {', '.join(known)}; "
            "or give a YAML file with --recipe FILE."
        )
    sections = _recipe_file(path)
    if name not in sections:
        raise unknown_choice(
            f"recipe for {method} on {task}", name, sections, fix="A YAML file is named by --recipe FILE.yaml."
        )
    return sections[name] or {}


def _recipe_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"No recipe file '{path}'.")
    tree = _yaml(path.read_text(), f"recipe '{path}'")
    if not isinstance(tree, Mapping):
        raise UserError(f"Recipe '{path}' must be a YAML mapping of keys to values.")
    return tree


def _yaml(text: str, what: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{what} is not YAML: {str(error).splitlines()[0]}.") from error
