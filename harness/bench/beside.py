"""A clone of Fast-dLLM or LLaDA, timed on the same weights and prompts in the same run.

Their code pins older versions of transformers, so it runs in a process of its own, under a Python that the user names
(harness/bench/beside_worker.py). Nothing of it is part of the harness; what is known here are the names of its
functions: generate, generate_with_prefix_cache and generate_with_dual_cache of llada/generate.py (Fast-dLLM), generate
of generate.py (LLaDA).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.bench.checkpoint import save_random_checkpoint
from harness.bench.shapes import BenchShape
from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.rollout import Prompts

WORKER = Path(__file__).with_name("beside_worker.py")
GENERATE_FILES = ("llada/generate.py", "generate.py")
SAMPLERS: Mapping[str, str] = {
    "exact": "generate",
    "prefix": "generate_with_prefix_cache",
    "dual": "generate_with_dual_cache",
    "threshold": "generate",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A rollout of the other code. passes: forward passes, 0 where it does not count them."""

    seconds: float
    passes: int
    completion: list[list[int]]


class Beside:
    """The other code, loaded and waiting. title: the clone's name. last: its latest answer."""

    last: Answer

    def __init__(self, clone: Path, python: str, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.title, self._python = clone.resolve().name, python
        self._process, self._errors = process, errors
        self._options: dict[str, list[str]] = self._read()

    def has(self, kind: str) -> bool:
        """Whether it has such a sampler."""
        options = self._options.get(SAMPLERS[kind], ())
        return bool(options) and (kind != "threshold" or kind in options)

    def seconds(self, kind: str, decoding: Decoding) -> float:
        """Seconds of one rollout: of the processor on a CPU. Raises UserError where their code fails."""
        options = {
            "steps": decoding.num_steps,
            "gen_length": decoding.completion_length,
            "block_length": decoding.block_length,
            "temperature": decoding.temperature,
        }
        if decoding.threshold:
            options["threshold"] = decoding.threshold
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"function": SAMPLERS[kind], "options": options}) + "\n")
            self._process.stdin.flush()
        self.last = Answer(**self._read())
        return self.last.seconds

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        said = [text.strip() for text in self._errors if text.strip()]
        reason = said[-1].rstrip(".") if said else "it said nothing"
        raise UserError(
            f"The code of '{self.title}' failed under '{self._python}': {reason}. "
            "It asks for older packages (--beside-python), and some of its samplers take one row alone (--batch 1)."
        )


@contextlib.contextmanager
def beside(clone: Path, python: str, shape: BenchShape, prompts: Prompts, device: str) -> Iterator[Beside]:
    """Inside, the clone's code is loaded with the weights of `make_model(shape)`.

    Raises UserError where the clone has no generate.py, where the shape is not of LLaDA's layout, or where the code
    fails.
    """
    check_clone(clone, shape)
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryFile("w+") as errors:
        save_random_checkpoint(shape, Path(place, "model"), device)
        settings = {
            "clone": str(clone.resolve()),
            "checkpoint": str(Path(place, "model")),
            "device": device,
            "dtype": str(shape.dtype).removeprefix("torch."),
            "mask_id": shape.mask_id,
            "block_length": shape.block,
            "prompts": prompts.ids_BP.tolist(),
        }
        path = Path(place, "settings.json")
        path.write_text(json.dumps(settings))
        try:
            process = subprocess.Popen(
                [python, str(WORKER), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        except OSError as error:
            raise UserError(f"--beside-python '{python}' cannot be started: {error.strerror}.") from error
        with process:
            try:
                yield Beside(clone, python, process, errors)
            finally:
                process.kill()


def check_clone(clone: Path, shape: BenchShape) -> None:
    """Raises UserError where the clone cannot be run on the shape."""
    if not any((clone / name).is_file() for name in GENERATE_FILES):
        raise UserError(
            f"--beside '{clone}' has no {' or '.join(GENERATE_FILES)}; name a clone of NVlabs/Fast-dLLM or "
            "ML-GSAI/LLaDA."
        )
    if shape.layout != "llada":
        raise UserError(f"--beside runs LLaDA's layout, and shape '{shape.name}' is {shape.layout}'s; choose another.")
