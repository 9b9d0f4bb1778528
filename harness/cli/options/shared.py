"""Options that several subcommands have, each worded once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

Result = TypeVar("Result")


def grouped(command: Callable[..., Result]) -> Callable[..., Result]:
    """Lets a command take dataclasses of options: on the command line their fields are options like any other."""
    asked = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {one.name: one.annotation for one in asked if is_dataclass(one.annotation)}
    members = {name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()}
    options = [option for one in asked for option in members.get(one.name, {one.name: one}).values()]

    @functools.wraps(command)
    def called(**given: Any) -> Result:
        made = {
            name: group(**{option: given.pop(option) for option in members[name]}) for name, group in groups.items()
        }
        return command(**made, **given)

    flat = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    called.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    called.__annotations__ = {option.name: option.annotation for option in flat}
    return called


Data = Annotated[str, typer.Option(help="builtin, hub, or a folder.")]
TrainData = Annotated[str, typer.Option(help="Source of training and worked examples, if it is another.")]
Prompts = Annotated[Path | None, typer.Option(help="YAML file with prompts of your own: task to messages.")]
FewShot = Annotated[int, typer.Option(min=0, help="Worked training examples before each question.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Adapter = Annotated[str, typer.Option(help="Adapter to put on the model: a folder or a hub id.")]
CudaGraphs = Annotated[
    bool, typer.Option(help="Start the kernels of a pass all at once: faster where passes are short.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the layers at the first passes: faster afterwards.")]
PackWeights = Annotated[
    bool, typer.Option("--pack-weights", help="Keep a second copy of the weights in a processor's order: faster.")
]
AdapterSubfolder = Annotated[str, typer.Option(help="Where in it the adapter lies.")]
IncludePath = Annotated[
    list[Path] | None,
    typer.Option(help="Folder with methods or tasks of your own; repeatable. HARNESS_PATH names some for good."),
]
UnsafeLocalExec = Annotated[bool, typer.Option("--unsafe-local-exec", help="Run model-written code without a sandbox.")]
AllowPackages = Annotated[
    list[str] | None,
    typer.Option("--allow-packages", help="Installed package that model-written code may import; repeatable."),
]
Lengths = Annotated[
    str, typer.Option(help="Completion length in tokens, or several: 128,256,512; tokens per step stay the same.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Decoding over the recipe's: num_steps=8, temperature=0 ..."),
]
Dtype = Annotated[
    str,
    typer.Option(
        help="float32, bfloat16, float16 or float64; by default a run's own; else float32, the files' on a GPU."
    ),
]
Protocol = Annotated[str, typer.Option(help="A paper's decodings and items: d1, egspo, espo ...")]
Items = Annotated[int, typer.Option(min=0, help="Only the first so many items of the split; 0 is all.")]
Split = Annotated[str, typer.Option(help="test, validation or train.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Prompts per forward pass.")]
Server = Annotated[
    str, typer.Option(help="Address of a server with OpenAI's interface (SGLang, vLLM ...) that runs the model.")
]
Endpoint = Annotated[str | None, typer.Option(help="Of the server: chat, or completions for text without a template.")]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Requests to the server at once; 16 by default.")]
Retries = Annotated[int | None, typer.Option(min=0, help="Of a request that failed and may not fail again; 5.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for an answer of the server; 600.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do again what is there already.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
