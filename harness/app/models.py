"""A model by its name, or by the folder of a run, whose last checkpoint is taken."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.resolve import recorded_config
from harness.config.tree import Execution, ModelConfig, RunConfig
from harness.errors import UserError
from harness.records.description import read_description
from harness.records.jsonl import RecordError
from harness.records.run_folder import CHECKPOINT_FOLDER, CONFIG_FILE, read_status

if TYPE_CHECKING:
    from harness.models.diffusion_lm import DiffusionLM
    from harness.rl.ledger import Progress

TINY = "tiny"
TINY_TASK = "sudoku"
"""The task of the tiny model's weights where none is named."""


def load_model(
    name: str | Path,
    *,
    task: str = TINY_TASK,
    dtype: str = "",
    device: str = "auto",
    adapter: str = "",
    adapter_subfolder: str = "",
) -> DiffusionLM:
    """Loads a model: `tiny`, a folder, a hub id, or the last checkpoint of a run folder.

    task: whose weights of the tiny model. dtype: float32, bfloat16, float16 or float64; by default float32, and a run's
    own. device: auto, cpu, cuda or cuda:N. adapter: folder or hub id of low-rank adapters to put on it. What looks
    wrong about the model stands in its `warnings`. Raises UserError where it cannot be loaded.
    """
    named = named_model(
        name, task=task, dtype=dtype, device=device, adapter=adapter, adapter_subfolder=adapter_subfolder
    )
    return named.load().model


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model and what is known about it. label: its name for a folder of results. checkpoint, weights: as in
    EvalRecord. progress: of its training."""

    model: DiffusionLM
    label: str
    checkpoint: str
    progress: Progress
    weights: str

    @classmethod
    def given(cls, model: DiffusionLM) -> LoadedModel:
        """A model that a program loaded itself. Its tensors are hashed: they may differ from its files."""
        import torch

        from harness.rl.ledger import Progress

        digest = hashlib.sha256()
        for weight in model.predictor.state_dict().values():
            digest.update(weight.cpu().reshape(-1).view(torch.uint8).numpy())
        weights = digest.hexdigest()[:16]
        return cls(model=model, label=_short(model.name), checkpoint="given", progress=Progress(), weights=weights)

    @property
    def is_tiny(self) -> bool:
        """Whether it is a tiny model."""
        return self.model.compact_prompts


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """What a name stands for. task: of the tiny model's weights. device: auto, cpu, cuda or cuda:N. run: the run
    folder, None for a model itself."""

    config: ModelConfig
    task: str
    device: str = Execution.device
    run: Path | None = None

    @property
    def label(self) -> str:
        """One name for a folder of results: of the run, or of the model and its adapter."""
        if self.run is not None:
            run = self.run.resolve()
            return f"{run.parent.parent.name}-{run.name}"
        parts = [self.config.name, self.config.adapter, self.config.adapter_subfolder]
        return "+".join(_short(part) for part in parts if part)

    @property
    def is_tiny(self) -> bool:
        """Whether it is a tiny model: the shipped one, or one in a folder."""
        return self.config.name == TINY or _has_characters(Path(self.config.name))

    @property
    def has_adapter(self) -> bool:
        """Whether adapters are on the model once it is loaded."""
        return bool(self.config.lora.rank or self.config.adapter)

    def load(self, *, stored_dtype: bool = False) -> LoadedModel:
        """Loads the model. Raises UserError where it cannot be loaded.

        stored_dtype: keep the dtype of the model's files, unless a run trained all weights in another.
        """
        from harness.models.checkpoints import load_model
        from harness.rl.ledger import Progress

        if self.run is not None:
            return self._load_run(self.run, stored_dtype=stored_dtype and self.has_adapter)
        model = load_model(self.config, task=self.task, device=self.device, stored_dtype=stored_dtype)
        return LoadedModel(
            model=model, label=self.label, checkpoint="base", progress=Progress(), weights=model.fingerprint
        )

    def _load_run(self, run: Path, *, stored_dtype: bool) -> LoadedModel:
        from harness.models.checkpoints import load_model
        from harness.models.files import fingerprint
        from harness.rl import checkpoint

        saved = checkpoint.checkpoints(run / CHECKPOINT_FOLDER)
        if not saved:
            raise UserError(f"Run '{run}' has no checkpoint yet; finish it with the same harness run command.")
        progress = checkpoint.load_progress(saved[-1])
        model = load_model(self.config, task=self.task, device=self.device, stored_dtype=stored_dtype)
        checkpoint.load_weights(saved[-1], model.predictor)
        model.name = self.label
        status = read_status(run)
        return LoadedModel(
            model=model,
            label=self.label,
            checkpoint="last" if status is not None and status.state == "finished" else "step",
            progress=progress,
            weights=f"{model.fingerprint}+{fingerprint([saved[-1] / checkpoint.WEIGHTS])}",
        )


def named_model(
    name: str | Path,
    *,
    task: str,
    dtype: str = "",
    device: str = "auto",
    adapter: str = "",
    adapter_subfolder: str = "",
) -> NamedModel:
    """Reads what `name` stands for; the options are those of `load_model`.

    Raises UserError where an adapter is named beside a run, or the run's config.yaml is damaged.
    """
    name = str(name)
    if not is_run(name):
        config = ModelConfig(name=name, adapter=adapter, adapter_subfolder=adapter_subfolder)
        config = replace(config, dtype=dtype or config.dtype)
        config.check()
        return NamedModel(config=config, task=task, device=device)
    if adapter:
        raise UserError(f"'{name}' is a run and has its own weights; --adapter goes with a model.")
    trained = _run_config(Path(name))
    config = replace(trained.model, dtype=dtype or trained.model.dtype)
    return NamedModel(config=config, task=trained.task, device=device, run=Path(name))


def is_run(name: str) -> bool:
    """Whether a name is the folder of a run."""
    return os.path.isfile(os.path.join(name, CONFIG_FILE))


def _short(name: str) -> str:
    """The last part of a folder's path; a hub id without its slash."""
    return Path(name).resolve().name if os.path.isdir(name) else name.strip("/").replace("/", "--")


def _has_characters(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "config.json").read_bytes())["tokenizer"] == "characters")
    except (OSError, ValueError, LookupError, TypeError):  # what is wrong with it is said when it is loaded
        return False


def _run_config(run: Path) -> RunConfig:
    try:
        description = read_description(run)
        assert description is not None, "is_run saw the file"
        return recorded_config(description.config)
    except (OSError, RecordError) as error:
        raise UserError(f"'{run / CONFIG_FILE}' is damaged ({error}); start over with --fresh.") from error
