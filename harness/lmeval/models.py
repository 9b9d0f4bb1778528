"""The models behind `pretrained=`: one checkpoint, or the tiny model, which has base weights of its own per task."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from peft import PeftModel

from harness.config.embedded import TINY, embedded
from harness.config.recipe_files import PAPER
from harness.config.tree import ModelConfig
from harness.errors import UserError, unknown_choice
from harness.lmeval.options import TASK_PREFIX
from harness.models.checkpoints import load_model
from harness.models.diffusion_lm import DiffusionLM
from harness.models.tiny import tiny_tasks

UNIMPORTANT = ("transformers_version", "_name_or_path", "base_model_name_or_path")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """identity: everything about the model that decides an answer, as plain JSON."""

    model: DiffusionLM
    identity: Mapping[str, Any]

    @property
    def max_length(self) -> int:
        """The positions that the model was made for."""
        return int(self.model.predictor.transformer.config.max_position_embeddings)


class Models:
    """Loads each model once, on `device`. tiny_task: whose tiny weights serve tasks that are not ours.

    loaded: by task for the tiny model, otherwise one under an empty name.
    """

    def __init__(self, config: ModelConfig, *, device: str = "auto", tiny_task: str = "") -> None:
        """Raises UserError for a model that cannot be loaded, an absent device, and a tiny_task without weights."""
        self.config, self._device = config, device
        self.is_tiny = config.name == TINY
        self.section = embedded(config.name) or PAPER
        self._tiny_task = tiny_task
        self.loaded: dict[str, LoadedModel] = {}
        if tiny_task and not self.is_tiny:
            raise UserError(f"tiny_task={tiny_task} goes with pretrained=tiny, not with '{config.name}'.")
        if tiny_task and tiny_task not in tiny_tasks():
            raise unknown_choice("tiny_task", tiny_task, tiny_tasks())
        self.main = self._load(tiny_task or min(tiny_tasks()) if self.is_tiny else "")

    def for_task(self, task_name: str | None) -> LoadedModel:
        """The model that answers a task's requests. Raises UserError where the tiny model has no weights for it."""
        if not self.is_tiny:
            return self.main
        task = (task_name or "").removeprefix(TASK_PREFIX)
        if task_name != task and task in tiny_tasks():
            return self._load(task)
        if not self._tiny_task:
            raise UserError(
                f"The tiny model has no weights for task '{task_name}', only for {', '.join(sorted(tiny_tasks()))}; "
                "say tiny_task=NAME in model_args to use one of them, or name another model with pretrained=."
            )
        return self.main

    def _load(self, task: str) -> LoadedModel:
        if task not in self.loaded:
            stored = self.config.dtype == "auto"
            config = replace(self.config, dtype=ModelConfig.dtype) if stored else self.config
            model = load_model(config, task=task, device=self._device, stored_dtype=stored)
            for warning in model.warnings:
                log.warning(warning)
            self.loaded[task] = LoadedModel(model=model, identity=identity_of(model, self.config))
        return self.loaded[task]


def identity_of(model: DiffusionLM, config: ModelConfig) -> dict[str, Any]:
    """Weights, configuration, adapter, tokenizer, arithmetic: a change of any of them may change an answer."""
    network = model.predictor.model
    adapters = network.peft_config if isinstance(network, PeftModel) else {}
    return {
        "weights": model.fingerprint,
        "configuration": _plain(model.predictor.transformer.config.to_dict()),
        "adapters": {name: _plain(adapter.to_dict()) for name, adapter in adapters.items()},
        "tokenizer": _vocabulary_sha256(model),
        "special": asdict(model.special),
        "shift": model.predictor.shift,
        "quantization": config.quantization,
        "dtype": f"torch.{model.dtype_name}",
        "device": model.device.type,
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in values.items() if name not in UNIMPORTANT}
    plain: dict[str, Any] = json.loads(json.dumps(kept, sort_keys=True, default=_as_text))
    return plain


def _as_text(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _vocabulary_sha256(model: DiffusionLM) -> str:
    backend = getattr(model.tokenizer, "backend", None)
    content = type(model.tokenizer).__name__ if backend is None else json.dumps(backend.get_vocab(), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
