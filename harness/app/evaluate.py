"""Evaluating a model, or checkpoints of a run, on tasks without training it.

Results lie in `<out>/<task>/<model>/` (harness/app/evaluations.py). Another checkpoint, batch size, dtype, decoding,
item list or prompt makes a record of its own; an evaluation that is there already is not done again.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from harness import registry
from harness.app.agreement import with_agreement
from harness.app.evaluations import Evaluated, EvaluationFolder
from harness.app.models import LoadedModel, ModelsInTurn, NamedModel, named_model, published_model
from harness.app.served import ServedFolder, ServedModel
from harness.config.build import build
from harness.config.decoding import Decoding
from harness.config.published.protocols import evaluation_protocol
from harness.config.recipe_files import PAPER
from harness.config.recipes import protocol_decoding
from harness.config.served import Sampling, Server, samplings
from harness.config.tree import EvaluationConfig
from harness.data.sources import DataSource, default_source, parse_source
from harness.errors import UserError, require_choice, require_positive
from harness.task.base import Example, Task, TaskOptions
from harness.task.prompts import COMPACT_ONLY, read_prompts, set_prompts

if TYPE_CHECKING:
    from harness.models.diffusion_lm import DiffusionLM

CHECKPOINTS = ("last", "all")


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """One model, everything it is to be evaluated on, and how.

    model: `tiny`, a folder, a hub id, a run folder, one of its checkpoints, or a loaded model. dtype, device and
    adapter go with a name and mean what they mean in `load_model`, but that a GPU takes the dtype of the model's files
    by default. tasks: names, or tasks of your own. data: builtin, hub, or a folder; train_data: the source of worked
    examples, where it is another. prompts: YAML file with prompts of your own. few_shot: worked training examples
    before each question. items: the first so many of the split, 0 for all. batch_size: prompts per forward pass.
    cuda_graphs, compile, pack_weights: as in Execution. server: one that runs the model, which has that name there.
    checkpoint: one of harness list checkpoints in the place of a model, `egspo-sa/sudoku`, or `egspo-sa` for that of
    each task. protocol: a paper's (harness list protocols), whose decodings and items replace the recipe's.

    decodings: options over the recipe's, as `{"num_steps": 8}`, one mapping for each of several decodings. lengths:
    completion lengths in tokens, each with the tokens per step of the decoding. seeds: of draws; nothing is drawn at
    temperature 0. checkpoints: of a run, `last`, or `all` that it kept. For tasks by name, unsafe_local_exec: run
    model-written code without a sandbox, and allow_packages: what it may import beside the standard library. out:
    folder to write to, None for none. agreement: evaluate exactly too where a decoding has a cache, threshold,
    factor or entropy bound, and record what it changes. fresh: do again what is there.
    """

    model: str | Path | DiffusionLM
    tasks: Sequence[str | Task]
    server: Server | None = None
    checkpoint: str = ""
    protocol: str = ""
    data: str = ""
    train_data: str = ""
    prompts: str | Path | None = None
    few_shot: int = 0
    items: int = 0
    split: str = "test"
    batch_size: int = 64
    decodings: Sequence[Mapping[str, Any]] = ({},)
    lengths: Sequence[int] = ()
    seeds: Sequence[int] = (0,)
    checkpoints: str = "last"
    dtype: str = ""
    device: str = "auto"
    adapter: str = ""
    adapter_subfolder: str = ""
    cuda_graphs: bool = False
    compile: bool = False
    pack_weights: bool = False
    unsafe_local_exec: bool = False
    allow_packages: Sequence[str] = ()
    out: Path | None = None
    agreement: bool = True
    fresh: bool = False


class EvaluationOptions(TypedDict, total=False):
    """Fields of an EvaluationRequest that `evaluate` takes by the same names."""

    server: Server | None
    protocol: str
    data: str
    train_data: str
    prompts: str | Path | None
    few_shot: int
    items: int
    split: str
    batch_size: int
    dtype: str
    device: str
    adapter: str
    adapter_subfolder: str
    cuda_graphs: bool
    compile: bool
    pack_weights: bool
    unsafe_local_exec: bool
    allow_packages: Sequence[str]
    agreement: bool
    fresh: bool


def evaluate(
    model: str | Path | DiffusionLM,
    task: str | Task,
    *,
    decoding: Mapping[str, Any] | None = None,
    length: int = 0,
    seed: int = 0,
    out: str | Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_warning: Callable[[str], None] = warnings.warn,
    **options: Unpack[EvaluationOptions],
) -> Evaluated:
    """Completes the items of a task and scores them.

    The options are those of EvaluationRequest, for one task, decoding, length (0 for the decoding's own) and seed. An
    evaluation that `out` holds already is returned as it is. on_progress is told (items done, items in all), on_warning
    what looks wrong about the model. Raises UserError for anything wrong with the request, before the model is loaded
    where that can be known.
    """
    request = EvaluationRequest(
        model=model,
        tasks=[task],
        decodings=[decoding or {}],
        lengths=[length] if length else (),
        seeds=[seed],
        out=None if out is None else Path(out),
        **options,
    )
    (done,) = evaluate_all(
        request, on_progress=lambda done, total, note: on_progress(done, total), on_warning=on_warning
    )
    return done


def evaluate_all(
    request: EvaluationRequest,
    *,
    before: Callable[[str, Mapping[str, Any]], None] = lambda task, values: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, note: None,
    on_warning: Callable[[str], None] = warnings.warn,
) -> Iterator[Evaluated]:
    """Every task, checkpoint, decoding, length and seed of the request, one after the other; several processes that a
    launcher started share the items of each, and all of them get the results.

    before: is told of each evaluation, before it is done, the task and the values of its record that are known; what it
    raises ends them. on_progress is told (items done, items in all, what is being evaluated). Raises UserError as
    `evaluate` does.
    """
    prepared = [_prepare(request, task) for task in request.tasks]
    return (_served if request.server else _evaluations)(request, prepared, before, on_progress, on_warning)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task with its items and prompts, and the model that completes them, by `decodings` here or by `samplings` on a
    server. about: what records say of the data."""

    task: Task
    named: NamedModel | LoadedModel | ServedModel
    examples: Sequence[Example]
    decodings: Sequence[Decoding]
    samplings: Sequence[Sampling]
    about: Mapping[str, Any]


def _prepare(request: EvaluationRequest, task: str | Task) -> Prepared:
    """Raises UserError for everything about a task that can be known before the model is loaded."""
    name = task.name if isinstance(task, Task) else registry.canonical_name("task", task)
    named = model_of(request, name)
    if isinstance(named, NamedModel):
        named.find()
    if isinstance(task, str):
        options = TaskOptions(
            bare_answers=named.is_tiny,
            unsafe_local_exec=request.unsafe_local_exec,
            allow_packages=request.allow_packages,
        )
        task = registry.get_task(name)(options)
    require_positive("evaluation", batch_size=request.batch_size)
    require_choice("--checkpoints", request.checkpoints, CHECKPOINTS)
    if request.compile and (request.cuda_graphs or request.pack_weights):
        other = "--cuda-graphs" if request.cuda_graphs else "--pack-weights"
        raise UserError(f"--compile and {other} have not been tried together; leave out one of the two.")
    decodings = () if request.server else _decodings(request, name, section=named.embedded or PAPER)
    asked = samplings(name, request.decodings, request.lengths) if request.server else ()
    source = parse_source(request.data or default_source(tiny=bool(named.embedded)))
    tested = _tested(task, source, request)
    if named.embedded and (request.prompts or request.few_shot):
        raise UserError(COMPACT_ONLY)
    about = {
        "protocol": request.protocol,
        "data": source.label,
        "split": request.split,
        "origin": task.origin(request.split, source),
        "prompts": _set_prompts(task, request, source, tested),
        "packages": task.importable(),
    }
    examples = tested[: request.items or _published_items(request, name, tested, source) or None]
    return Prepared(task=task, named=named, examples=examples, decodings=decodings, samplings=asked, about=about)


def model_of(request: EvaluationRequest, task: str) -> NamedModel | LoadedModel | ServedModel:
    """The model of the request for a task. Raises UserError for options that do not go with it."""
    if request.server:
        return ServedModel.asked(request.server, vars(request))
    options = {
        "dtype": request.dtype,
        "device": request.device,
        "adapter": request.adapter,
        "adapter_subfolder": request.adapter_subfolder,
    }
    if request.checkpoint:
        if request.adapter or request.adapter_subfolder:
            raise UserError(f"Checkpoint '{request.checkpoint}' has an adapter of its own; leave out --adapter.")
        return published_model(request.checkpoint, task=task, dtype=request.dtype, device=request.device)
    if isinstance(request.model, str | Path):
        return named_model(request.model, task=task, **options)
    if {*options.values()} != {"", "auto"}:
        raise UserError("dtype, device and adapter go with the name of a model; this one is already loaded.")
    return LoadedModel.given(request.model)


def _decodings(request: EvaluationRequest, task: str, *, section: str) -> tuple[Decoding, ...]:
    """Raises UserError for options that decodings do not have, and for values outside their range."""
    if request.protocol:
        return _published_decodings(request, task)
    options = {
        "decoding": protocol_decoding(task, section),
        "decodings": tuple(request.decodings),
        "lengths": tuple(request.lengths),
    }
    config: EvaluationConfig = build(EvaluationConfig, options, "evaluation")
    for decoding in config.all_decodings:
        decoding.check("evaluation.decoding")
    return config.all_decodings


def _published_decodings(request: EvaluationRequest, task: str) -> tuple[Decoding, ...]:
    """Those of the paper, at the lengths asked for. Raises UserError for other lengths, and for other settings."""
    if any(request.decodings) or request.few_shot:
        raise UserError("--protocol says how completions are decoded and prompted; leave out --set and --few-shot.")
    found = evaluation_protocol(request.protocol, task)
    return tuple(one for length in request.lengths for one in found.decodings_at(length)) or found.decodings


def _published_items(request: EvaluationRequest, task: str, tested: Sequence[Example], source: DataSource) -> int:
    """How many items the protocol evaluates, 0 for all. Raises UserError where the split has fewer."""
    items = evaluation_protocol(request.protocol, task).items if request.protocol else 0
    if items > len(tested):
        raise UserError(
            f"Protocol '{request.protocol}' evaluates {items} items of {task}, but '{source.label}' has {len(tested)}; "
            f"name the published data with --data, or ask for fewer with --items {len(tested)}."
        )
    return items


def _tested(task: Task, source: DataSource, request: EvaluationRequest) -> list[Example]:
    """All examples of the split. Raises UserError where they are fewer than asked for."""
    examples = task.examples(request.split, source)
    if not 0 <= request.items <= len(examples):
        raise UserError(
            f"--items {request.items}, but split '{request.split}' of {task.name} from '{source.label}' has "
            f"{len(examples)}."
        )
    return examples


def _set_prompts(
    task: Task, request: EvaluationRequest, source: DataSource, tested: Sequence[Example]
) -> dict[str, Any]:
    """Gives the task its prompts and says what they are, for the record."""
    if request.few_shot and request.split == "train":
        raise UserError("--few-shot takes its examples from the train split; evaluate another --split.")
    file = read_prompts(Path(request.prompts), registry.names("task")) if request.prompts else None
    worked = parse_source(request.train_data) if request.train_data else source
    train = task.without_test_items(task.examples("train", worked), tested) if request.few_shot else []
    set_prompts(task, file, train, request.few_shot)
    return {
        "sha256": file.sha256 if file else None,
        "few_shot": request.few_shot,
        "train_data": worked.label if request.few_shot else None,
    }


def _evaluations(
    request: EvaluationRequest,
    prepared: Sequence[Prepared],
    before: Callable[[str, Mapping[str, Any]], None],
    on_progress: Callable[[int, int, str], None],
    on_warning: Callable[[str], None],
) -> Iterator[Evaluated]:
    from harness.distributed.shard import join
    from harness.models.compiled import speed_up

    shard = join(request.device)
    models = ModelsInTurn(on_warning, shard)
    for one in prepared:
        assert not isinstance(one.named, ServedModel)
        with shard.together():
            one.task.prepare()
        for loaded in models.of(one.named, request.checkpoints):
            speed_up(loaded.model, request)
            folder = EvaluationFolder.of(request.out, one.task.name, loaded, shard=shard, fresh=request.fresh)
            evaluated = functools.partial(
                folder.evaluated, batch_size=request.batch_size, about=one.about, before=before, on_progress=on_progress
            )
            for decoding in one.decodings:
                tells = request.agreement and decoding.is_approximate
                for seed in request.seeds:
                    done = evaluated(one.task, one.examples, decoding, seed=seed, needs_ids=tells)
                    if tells and done.record.agreement is None:
                        exact = evaluated(one.task, one.examples, decoding.exact, seed=seed, needs_ids=True)
                        done = with_agreement(folder, one.task, one.examples, decoding, done, exact, on_progress)
                    yield done


def _served(
    request: EvaluationRequest,
    prepared: Sequence[Prepared],
    before: Callable[[str, Mapping[str, Any]], None],
    on_progress: Callable[[int, int, str], None],
    on_warning: Callable[[str], None],
) -> Iterator[Evaluated]:
    """As `_evaluations`, of a model that a server has."""
    for one in prepared:
        assert isinstance(one.named, ServedModel)
        one.task.prepare()
        folder = ServedFolder.of(request.out, one.task.name, one.named, fresh=request.fresh)
        evaluated = functools.partial(folder.evaluated, before=before, on_progress=on_progress, on_warning=on_warning)
        for sampling in one.samplings:
            for seed in request.seeds:
                yield evaluated(one.task, one.examples, sampling, seed=seed, about=one.about)
