"""Executes runs one after another in one process or, under torchrun, in several: cells as JSON, then the folder.

A cell's `fails`, as "update backward", has the second process run out of memory there, in the middle of the model,
where a pass has more than five sequences.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.rl.ledger import Ledger

FITTING, LAYER = 5, 1


def main(cells: str, runs: str) -> None:
    for name, cell in json.loads(cells).items():
        method, fails = cell.pop("method"), cell.pop("fails", "")
        request = RunRequest(method=method, task="sudoku", runs=Path(runs) / name, overrides=cell)
        injected = (
            out_of_memory(*fails.split()) if fails and os.environ.get("RANK") == "1" else contextlib.nullcontext()
        )
        with injected:
            execute(plan(request), lambda event: None, lambda text: print(text, file=sys.stderr))


@contextlib.contextmanager
def out_of_memory(where, direction):
    phase, forward, inside = Ledger.phase, LlamaDecoderLayer.forward, []

    def noting(self, entered):
        inside.append(entered)
        return phase(self, entered)

    def limited(self, hidden_states, *arguments, **options):
        is_hit = inside[-1:] == [where] and len(hidden_states) > FITTING and self.self_attn.layer_idx == LAYER
        if is_hit and direction == "forward":
            raise torch.OutOfMemoryError("injected")
        output = forward(self, hidden_states, *arguments, **options)
        if is_hit and output.requires_grad:
            output.register_hook(fail)
        return output

    def fail(gradient):
        raise torch.OutOfMemoryError("injected")

    with patch.object(Ledger, "phase", noting), patch.object(LlamaDecoderLayer, "forward", limited):
        yield


if __name__ == "__main__":
    main(*sys.argv[1:])
