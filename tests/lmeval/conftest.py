"""Models, requests and task managers shared by the tests of the lm-eval side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import harness.lmeval.model  # noqa: F401  (registers the tasks' folder)

GOLDEN_LLADA = Path(__file__).parents[1] / "golden" / "data" / "llada_tiny"
END, MASK, TURN_END = "<|endoftext|>", "<|mdm_mask|>", "<|eot_id|>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="session")
def llada(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden tiny LLaDA, whose weights are random, with a tokenizer of bytes: 512 rows, 509 ends, 510 masks."""
    folder = tmp_path_factory.mktemp("hub") / "LLaDA-Tiny-Instruct"
    shutil.copytree(GOLDEN_LLADA, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_sequence_length": 4096}))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    filler = [f"<{number}>" for number in range(len(alphabet), 508)]
    names = [*alphabet, *filler, TURN_END, END, MASK]
    tokenizer = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([TURN_END, END, MASK])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "pad_token": END,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return folder


@pytest.fixture
def ask() -> Callable[..., list[Instance]]:
    """Requests as lm-eval makes them: one per tuple of arguments."""

    def make(kind: str, arguments: Sequence[Any], task: str = "local", repeats: int = 1) -> list[Instance]:
        return [
            Instance(request_type=kind, doc={}, arguments=one, idx=0, metadata=(task, number, repeats))
            for number, one in enumerate(arguments)
        ]

    return make


@pytest.fixture
def manager() -> Callable[..., TaskManager]:
    """A TaskManager without lm-eval's own fourteen thousand tasks; ours are in every one."""

    def make(folder: Path | None = None, **metadata: Any) -> TaskManager:
        return TaskManager(include_path=folder, include_defaults=False, metadata=metadata)

    return make
