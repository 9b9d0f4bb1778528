"""Whether prompts are the published ones: `baselines/published/prompt_hashes.csv` against what a model is shown.

The table holds the SHA-256 of texts that the authors' code makes, each assembled twice in independent ways: a message,
what LLaDA's chat template makes of all messages (`rendered`), that with the prefill behind it (`model-input`), and
constants by themselves. The texts are not in this repository.
"""

from __future__ import annotations

import csv
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import require_choice
from harness.registry import published_folder
from harness.task.base import Example, Message, Task
from harness.task.messages import split_prefill
from harness.task.prompts import EVALUATION, PHASES, TRAINING

HASHES_FILE = "prompt_hashes.csv"
AS_PUBLISHED, OURS, UNVERIFIED = STATES = ("as published", "ours", "unverified")
CONSTANT, MODEL_INPUT, PREFILL = "constant ", "model-input", "prefill"
BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class PromptHash:
    """One text. item: the id of the example that it is made for, empty for a constant. task: `a+b` where a constant
    belongs to several. phase: evaluation, training or both. part: `constant FILE: NAME`, `user`, `system`,
    `message3-assistant`, `rendered`, `prefill`, `model-input`. characters: its length in code points."""

    protocol: str
    task: str
    phase: str
    part: str
    item: str
    characters: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class PromptCheck:
    """state: one of STATES. reason: in words, what was compared."""

    state: str
    reason: str


@functools.cache
def prompt_hashes() -> tuple[PromptHash, ...]:
    """The table, in its order."""
    with open(published_folder() / HASHES_FILE, encoding="utf-8", newline="") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    return tuple(PromptHash(**{**row, "characters": int(row["characters"])}) for row in rows)


def constant_hashes(protocol: str) -> dict[str, str]:
    """The place of each constant of a protocol, as PublishedPrompt.read has it, to its sha256."""
    own = (one for one in prompt_hashes() if one.protocol == protocol and one.part.startswith(CONSTANT))
    return {one.part.removeprefix(CONSTANT): one.sha256 for one in own}


def check_prompts(
    protocol: str,
    task: Task,
    examples: Sequence[Example],
    render: Callable[[Task, Example], str],
    *,
    phase: str = EVALUATION,
) -> PromptCheck:
    """Whether a task shows what the code of `protocol` shows.

    render: the whole prompt of an example as the model gets it (DiffusionLM.prompt_text). Of `examples` those are
    looked at whose prompt has a known hash. The state is `as published` where all of these agree; `unverified` where
    there are none, or where the messages agree and the chat template is not the one that was hashed, LLaDA's; `ours`
    otherwise. Raises UserError for an unknown phase.
    """
    require_choice("phase", phase, PHASES)
    known = _by_item(protocol, task.name, phase)
    shown = [example for example in examples if example.id in known]
    if not shown:
        return PromptCheck(
            state=UNVERIFIED, reason=f"no published hash of a {phase} prompt of these items ({protocol})"
        )
    ids = ", ".join(example.id for example in shown)
    if all(sha256(render(task, example)) == known[example.id][MODEL_INPUT] for example in shown):
        return PromptCheck(state=AS_PUBLISHED, reason=f"the same sha256 for {ids}")
    if all(same_messages(task.messages(example), known[example.id]) for example in shown):
        return PromptCheck(state=UNVERIFIED, reason=f"the same messages for {ids}, in another chat template")
    return PromptCheck(state=OURS, reason=f"another sha256 for {ids}")


def training_prompts(
    task: Task, examples: Sequence[Example], render: Callable[[Task, Example], str]
) -> dict[str, str | list[str]]:
    """What the record of a run says of its training prompts, beside those of every paper that has a hash for them.

    examples: any of the task; the published hashes are of test items too. render: as in `check_prompts`. `published` is
    one of STATES: `ours` where no paper's prompts are these. `protocols` are the papers of which that is so, `because`
    says what was compared.
    """
    shown = {one.id: replace(one, training=bool(task.prompting.training)) for one in examples}
    papers = dict.fromkeys(one.protocol for one in _of_phase(task.name, TRAINING) if one.item in shown)
    checks = {name: check_prompts(name, task, [*shown.values()], render, phase=TRAINING) for name in papers}
    for state in (AS_PUBLISHED, UNVERIFIED, OURS):
        found = [protocol for protocol, check in checks.items() if check.state == state]
        if found:
            return {"published": state, "protocols": found, "because": checks[found[0]].reason}
    return {
        "published": UNVERIFIED,
        "protocols": [],
        "because": "no published hash of a training prompt of these items",
    }


def same_messages(messages: Sequence[Message], known: Mapping[str, str]) -> bool:
    """Whether messages and prefill are those of a prompt. known: part to sha256."""
    asked, prefill = split_prefill(messages)
    parts = {part for part in known if part in ("user", "system") or part.startswith("message")}
    if len(parts) != len(asked) or sha256(prefill) != known[PREFILL]:
        return False
    names = [f"message{number}-{message['role']}" for number, message in enumerate(asked)]
    names = names if names[0] in parts else [message["role"] for message in asked]
    return all(sha256(message["content"]) == known.get(name) for name, message in zip(names, asked, strict=True))


def _by_item(protocol: str, task: str, phase: str) -> dict[str, dict[str, str]]:
    """Example id to part to sha256."""
    found: dict[str, dict[str, str]] = {}
    for one in _of_phase(task, phase):
        if one.protocol == protocol:
            found.setdefault(one.item, {})[one.part] = one.sha256
    return found


def _of_phase(task: str, phase: str) -> list[PromptHash]:
    """The texts that belong to an item of a task."""
    return [one for one in prompt_hashes() if one.task == task and one.phase in (phase, BOTH) and one.item]


def sha256(text: str) -> str:
    """Of the text in UTF-8, nothing stripped or added."""
    return hashlib.sha256(text.encode()).hexdigest()
