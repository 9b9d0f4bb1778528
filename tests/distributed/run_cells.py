"""Executes runs one after another in one process or, under torchrun, in several: cells as JSON, then the folder.

A cell's `fails`, as "update backward", has the second process run out of memory there, in the middle of the model or at
its head, where a pass has more than five sequences or asks for more than a hundred logits.
"""

import json
import os
import sys
from pathlib import Path

import torch
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.models.predictor import MaskedPredictor
from harness.rl.ledger import Ledger

FITTING, POSITIONS, LAYER = 5, 100, 1


class SmallMemory:
    """Of one process, in one phase and direction at a time; patched once, since FSDP2 keeps the classes it derives."""

    def __init__(self):
        self.fails, self.phase = "", ""
        phase, forward, head = Ledger.phase, LlamaDecoderLayer.forward, MaskedPredictor.head

        def noting(ledger, name):
            self.phase = name
            return phase(ledger, name)

        def limited(layer, hidden_states, *arguments, **options):
            is_hit = len(hidden_states) > FITTING and layer.self_attn.layer_idx == LAYER
            if is_hit and self.fails == f"{self.phase} forward":
                self.run_out()
            output = forward(layer, hidden_states, *arguments, **options)
            if is_hit and self.fails == f"{self.phase} backward" and output.requires_grad:
                output.register_hook(self.run_out)
            return output

        def limited_head(predictor, hidden):
            if self.fails == f"{self.phase} head" and len(hidden) > (POSITIONS if hidden.ndim == 2 else FITTING):
                self.run_out()
            return head(predictor, hidden)

        Ledger.phase, LlamaDecoderLayer.forward, MaskedPredictor.head = noting, limited, limited_head

    def run_out(self, gradient=None):
        raise torch.OutOfMemoryError("injected")


def main(cells: str, runs: str) -> None:
    memory = SmallMemory() if os.environ.get("RANK") == "1" else None
    for name, cell in json.loads(cells).items():
        method, fails = cell.pop("method"), cell.pop("fails", "")
        if memory:
            memory.fails = fails
        request = RunRequest(method=method, task="sudoku", runs=Path(runs) / name, overrides=cell)
        execute(plan(request), lambda event: None, lambda text: print(text, file=sys.stderr))


if __name__ == "__main__":
    main(*sys.argv[1:])
