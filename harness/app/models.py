"""A model as it is named on the command line: by name, or by the folder of a run, whose last checkpoint is taken."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml

from harness.config.resolve import build
from harness.config.tree import ModelConfig, RunConfig
from harness.errors import UserError
from harness.records.run_folder import CHECKPOINT_FOLDER, CONFIG_FILE

if TYPE_CHECKING:
    from harness.models.diffusion_lm import DiffusionLM


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """What a name stands for. task: of the tiny model's weights. run: the run folder, None for a model itself."""

    config: ModelConfig
    task: str
    run: Path | None = None

    def load(self, *, stored_dtype: bool = False) -> DiffusionLM:
        """Loads the model and shows its warnings. Raises UserError where it cannot be loaded.

        stored_dtype: keep the dtype of the model's files, unless a run trained all weights in another.
        """
        from harness.models.checkpoints import load_model

        if self.run is None:
            model = load_model(self.config, task=self.task, stored_dtype=stored_dtype)
        else:
            model = self._load_run(self.run, stored_dtype=stored_dtype and self.has_adapter)
        for warning in model.warnings:
            typer.echo(f"harness: warning: {warning}", err=True)
        return model

    @property
    def label(self) -> str:
        """One name for a folder of results: of the run, or of the model and its adapter."""
        if self.run is not None:
            return f"{self.run.parent.parent.name}-{self.run.name}"
        parts = [self.config.name, self.config.adapter, self.config.adapter_subfolder]
        return "+".join(_short(part) for part in parts if part)

    @property
    def has_adapter(self) -> bool:
        """Whether adapters are on the model once it is loaded."""
        return bool(self.config.lora.rank or self.config.adapter)

    def _load_run(self, run: Path, *, stored_dtype: bool) -> DiffusionLM:
        from harness.models.checkpoints import load_model
        from harness.rl import checkpoint

        saved = checkpoint.checkpoints(run / CHECKPOINT_FOLDER)
        if not saved:
            raise UserError(f"Run '{run}' has no checkpoint yet; finish it with the same harness run command.")
        checkpoint.load_progress(saved[-1])
        model = load_model(self.config, task=self.task, stored_dtype=stored_dtype)
        checkpoint.load_weights(saved[-1], model.predictor)
        model.name = self.label
        return model


def _short(name: str) -> str:
    """The last part of a folder's path; a hub id without its slash."""
    return Path(name).resolve().name if Path(name).is_dir() else name.strip("/").replace("/", "--")


def is_run(name: str) -> bool:
    """Whether a name is the folder of a run."""
    return os.path.isfile(os.path.join(name, CONFIG_FILE))


def named_model(name: str, config: ModelConfig, task: str) -> NamedModel:
    """Reads what `name` stands for: a run states its model itself, for anything else `config` holds.

    Raises UserError where an adapter is named beside a run, the run's config.yaml is damaged, or `config` is wrong.
    """
    if not is_run(name):
        config = replace(config, name=name)
        config.check()
        return NamedModel(config=config, task=task)
    if config.adapter:
        raise UserError(f"'{name}' is a run and has its own weights; --adapter goes with a model.")
    tree = _run_config(Path(name))
    model: ModelConfig = build(RunConfig, {"model": tree["model"], "method": {"name": ""}, "task": ""}, "").model
    return NamedModel(config=model, task=tree["task"], run=Path(name))


def _run_config(run: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load((run / CONFIG_FILE).read_text())["config"]
        return {"model": dict(tree["model"]), "task": str(tree["task"])}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"'{run / CONFIG_FILE}' is damaged ({error}); start over with --fresh.") from error
