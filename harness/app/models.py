"""A model by its name, or by the folder of a run, whose last checkpoint is taken."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.app.checkpoints import published_checkpoint
from harness.config.embedded import SMALL, TINY, embedded
from harness.config.published.checkpoints import PublishedCheckpoint
from harness.config.resolve import recorded_config
from harness.config.tree import Execution, ModelConfig, RunConfig
from harness.errors import UserError
from harness.records.description import RunDescription, read_description
from harness.records.jsonl import RecordError
from harness.records.run_folder import CHECKPOINT_FOLDER, CHECKPOINT_STATE, CONFIG_FILE, read_status
from harness.records.schema import NO_METHOD, RunIdentity

if TYPE_CHECKING:
    from harness.distributed.shard import Shard
    from harness.models.diffusion_lm import DiffusionLM
    from harness.rl.ledger import Progress

TINY_TASK = "sudoku"
"""The task of the tiny model's weights where none is named."""
PUBLISHED = "published"


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
    EvalRecord. progress: of its training. source: where it was loaded from, None for a model that was given."""

    model: DiffusionLM
    label: str
    checkpoint: str
    progress: Progress
    weights: str
    source: NamedModel | None = None

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
        return self.embedded == TINY

    @property
    def embedded(self) -> str:
        """Which of the embedded models it is, empty for all others."""
        from harness.models.tokenizers import CheckpointTokenizer

        if not self.model.compact_prompts:
            return ""
        return SMALL if isinstance(self.model.tokenizer, CheckpointTokenizer) else TINY

    def described(self, task: str, data: str) -> RunDescription:
        """Of the run that trained it, or what is known about a model that no run of ours trained."""
        trained = self.source.description if self.source else None
        if trained is not None:
            return trained
        config = asdict(self.source.config) if self.source else {"name": self.model.name}
        published = self.source.published if self.source else None
        identity = RunIdentity(
            task=task,
            method=published.method if published else NO_METHOD,
            model=(published.base or published.name) if published else self.label,
            recipe=PUBLISHED if published else NO_METHOD,
            reward="task",
            seed=0,
            train_data=NO_METHOD,
            test_data=data,
            config_hash=hashlib.sha256(self.weights.encode()).hexdigest()[:8],
        )
        return RunDescription(identity=identity, config={"model": config}, execution={}, provenance={})


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """What a name stands for.

    task: of the tiny model's weights. device: auto, cpu, cuda or cuda:N. run: the run folder, None for a model itself.
    place: of its checkpoint, None for the last. published: its entry in the register, where it has one. dtype_given:
    whether a dtype was asked for.
    """

    config: ModelConfig
    task: str
    device: str = Execution.device
    run: Path | None = None
    place: Path | None = None
    published: PublishedCheckpoint | None = None
    dtype_given: bool = False

    def at_all_checkpoints(self) -> list[NamedModel]:
        """One for each checkpoint that the run kept, oldest first; the model itself where it is of no run."""
        from harness.rl.checkpoint import checkpoints

        saved = checkpoints(self.run / CHECKPOINT_FOLDER) if self.run else []
        return [replace(self, place=place) for place in saved] or [self]

    @property
    def description(self) -> RunDescription | None:
        """Of the run, None for a model itself."""
        return None if self.run is None else read_description(self.run)

    @property
    def label(self) -> str:
        """One name for a folder of results: of the run, or of the model and its adapter."""
        if self.run is not None:
            run = self.run.resolve()
            return f"{run.parent.parent.name}-{run.name}"
        if self.published is not None:
            return self.published.name.replace("/", "--")
        parts = [self.config.name, self.config.adapter, self.config.adapter_subfolder]
        return "+".join(_short(part) for part in parts if part)

    @property
    def is_tiny(self) -> bool:
        """Whether it is a tiny model: the shipped one, or one in a folder."""
        return self.embedded == TINY

    @property
    def embedded(self) -> str:
        """Which of the embedded models it is, the shipped one or one in a folder; empty for all others."""
        return embedded(self.config.name)

    @property
    def is_on_gpu(self) -> bool:
        """Whether it will be loaded onto a GPU. Raises UserError for a device that does not exist."""
        from harness.models.checkpoints import resolve_device

        return resolve_device(self.device).type == "cuda"

    @property
    def has_adapter(self) -> bool:
        """Whether adapters are on the model once it is loaded."""
        return bool(self.config.lora.rank or self.config.adapter)

    def find(self) -> None:
        """Raises UserError where there is no such model, or the run has no checkpoint. Of a model on the hub no more
        than config.json is fetched."""
        from harness.models.checkpoints import require_model

        require_model(self.config.name, self.task)
        if self.run is not None:
            _saved(self.run)

    def require(self) -> None:
        """Raises UserError where the model, its adapter or the run's checkpoint does not exist; what is on the hub is
        fetched."""
        from harness.models.checkpoints import locate
        from harness.models.hub import adapter_folder
        from harness.models.layouts import read_config

        read_config(locate(self.config.name, self.task))
        if self.config.adapter:
            adapter_folder(self.config.adapter, self.config.adapter_subfolder)
        if self.run is not None:
            _saved(self.run)

    def load(self, *, stored_dtype: bool = False) -> LoadedModel:
        """Loads the model. Raises UserError where it cannot be loaded.

        stored_dtype: keep the dtype of the model's files, unless a run trained all weights in another.
        """
        from harness.models.checkpoints import load_model
        from harness.rl.ledger import Progress

        saved = _saved(self.run) if self.run else []
        keeps_dtype = stored_dtype and (self.run is None or self.has_adapter)
        model = load_model(self.config, task=self.task, device=self.device, stored_dtype=keeps_dtype)
        loaded = LoadedModel(
            model=model,
            label=self.label,
            checkpoint="base",
            progress=Progress(),
            weights=model.fingerprint,
            source=self,
        )
        return self._trained(loaded, self.run, saved) if self.run else loaded

    def _trained(self, loaded: LoadedModel, run: Path, saved: Sequence[Path]) -> LoadedModel:
        """The model with the weights of one of the run's `saved` checkpoints."""
        from harness.models.files import fingerprint
        from harness.rl import checkpoint

        place = self.place or saved[-1]
        progress = checkpoint.load_progress(place)
        checkpoint.load_weights(place, loaded.model.predictor)
        loaded.model.name = self.label
        status = read_status(run)
        is_last = status is not None and status.state == "finished" and place == saved[-1]
        return replace(
            loaded,
            checkpoint="last" if is_last else "step",
            progress=progress,
            weights=f"{loaded.weights}+{fingerprint([place / checkpoint.WEIGHTS])}",
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
    place = Path(name) if is_checkpoint(Path(name)) else None
    name = str(place.parent.parent if place else name)
    run = Path(name) if is_run(name) else None
    if run is None:
        config = ModelConfig(name=name, adapter=adapter, adapter_subfolder=adapter_subfolder)
    elif adapter:
        raise UserError(f"'{name}' is a run and has its own weights; --adapter goes with a model.")
    else:
        trained = _run_config(run)
        config, task = trained.model, trained.task
    config = replace(config, dtype=dtype or config.dtype)
    config.check()
    return NamedModel(config=config, task=task, device=device, run=run, place=place, dtype_given=bool(dtype))


def published_model(name: str, *, task: str, dtype: str = "", device: str = "auto") -> NamedModel:
    """A checkpoint of the register, as `named_model` names a model. Raises UserError where there is none or it cannot
    be loaded."""
    found = published_checkpoint(name, task)
    place = {"adapter": found.adapter, "adapter_subfolder": found.subfolder} if found.adapter else {}
    return replace(named_model(found.model, task=task, dtype=dtype, device=device, **place), published=found)


def is_run(name: str) -> bool:
    """Whether a name is the folder of a run."""
    return os.path.isfile(os.path.join(name, CONFIG_FILE))


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one of a run's checkpoints."""
    return folder.parent.name == CHECKPOINT_FOLDER and (folder / CHECKPOINT_STATE).is_file()


def _short(name: str) -> str:
    """The last part of a folder's path; a hub id without its slash."""
    return Path(name).resolve().name if os.path.isdir(name) else name.strip("/").replace("/", "--")


def _saved(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first. Raises UserError where there is none yet."""
    from harness.rl.checkpoint import checkpoints

    saved = checkpoints(run / CHECKPOINT_FOLDER)
    if not saved:
        raise UserError(f"Run '{run}' has no checkpoint yet; finish it with the same harness run command.")
    return saved


def _run_config(run: Path) -> RunConfig:
    try:
        description = read_description(run)
        assert description is not None, "is_run saw the file"
        return recorded_config(description.config)
    except (OSError, RecordError) as error:
        raise UserError(f"'{run / CONFIG_FILE}' is damaged ({error}); start over with --fresh.") from error


class ModelsInTurn:
    """Loads the model of a task unless the task before had the same. on_warning is told what looks wrong about it."""

    def __init__(self, on_warning: Callable[[str], None], shard: Shard) -> None:
        self._on_warning, self._shard = on_warning, shard
        self._last: tuple[object, LoadedModel] | None = None

    def of(self, named: NamedModel | LoadedModel, checkpoints: str) -> Iterator[LoadedModel]:
        """The model; of a run each checkpoint asked for."""
        if isinstance(named, LoadedModel):
            yield self._warned(named)
            return
        for one in named.at_all_checkpoints() if checkpoints == "all" else [named]:
            key = (one.config, one.place, one.run, one.task if one.is_tiny else "")
            if self._last is None or self._last[0] != key:
                with self._shard.together():
                    loaded = one.load(stored_dtype=not one.dtype_given and one.is_on_gpu)
                self._last = (key, self._warned(loaded))
            yield self._last[1]

    def _warned(self, loaded: LoadedModel) -> LoadedModel:
        for warning in loaded.model.warnings:
            self._on_warning(warning)
        return loaded
