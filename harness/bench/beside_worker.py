"""Times the samplers of a clone of Fast-dLLM or LLaDA, in a process of its own and under a Python of its own: this file
imports nothing of the harness, and runs under every Python and transformers that the clone runs under.

    python beside_worker.py SETTINGS.json

A line on standard output says what there is, then one answers each line on standard input: {"function", "options"}.
What the clone prints goes to standard error.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

FUNCTIONS = ("generate", "generate_with_prefix_cache", "generate_with_dual_cache")
MODEL_CLASS = "LLaDAModelLM"


def load(clone: Path) -> tuple[ModuleType, Any]:
    """The clone's generate.py, and the class of its model: what generate.py imports, or model/modeling_llada.py."""
    sys.path[:1] = [str(clone / "llada"), str(clone)]
    is_fast = (clone / "llada" / "generate.py").is_file()
    module = importlib.import_module("llada.generate" if is_fast else "generate")
    if hasattr(module, MODEL_CLASS):
        return module, getattr(module, MODEL_CLASS)
    return module, getattr(importlib.import_module("model.modeling_llada"), MODEL_CLASS)


class Samplers:
    """The clone's samplers on one model and batch of prompts."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.module, model_class = load(Path(settings["clone"]))
        dtype = getattr(torch, settings["dtype"])
        model = model_class.from_pretrained(settings["checkpoint"], torch_dtype=dtype)
        self.model = model.to(settings["device"]).eval()
        self.prompt_BP = torch.tensor(settings["prompts"], device=settings["device"])
        block = {"gen_length": settings["block_length"], "block_length": settings["block_length"], "steps": 2}
        for function in self.options:  # what libraries load at their first use
            self.answer(function, block)

    @property
    def options(self) -> dict[str, list[str]]:
        """The options of every sampler that there is."""
        found = {name: getattr(self.module, name) for name in FUNCTIONS if hasattr(self.module, name)}
        return {name: list(inspect.signature(function).parameters) for name, function in found.items()}

    def answer(self, function: str, options: dict[str, Any]) -> dict[str, Any]:
        """Seconds of a rollout, forward passes where the sampler counts them, and the completion."""
        torch.manual_seed(0)
        on_gpu = self.settings["device"].startswith("cuda")
        clock = time.perf_counter if on_gpu else time.process_time
        wait = torch.cuda.synchronize if on_gpu else lambda: None
        sampler = getattr(self.module, function)
        wait()
        start = clock()
        with torch.no_grad():
            result = sampler(self.model, self.prompt_BP, mask_id=self.settings["mask_id"], **options)
        wait()
        seconds = clock() - start
        tokens_BL, passes = result if isinstance(result, tuple) else (result, 0)
        completion = tokens_BL[:, self.prompt_BP.shape[1] :].tolist()
        return {"seconds": seconds, "passes": int(passes), "completion": completion}


def main() -> None:
    """Answers until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    samplers = Samplers(json.loads(Path(sys.argv[1]).read_text()))
    answers.write(json.dumps(samplers.options) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(samplers.answer(**json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
