"""Our tasks inside lm-eval, for every model type: the same examples, prompts and graders as in `harness eval`.

`--metadata` chooses: data=builtin or a folder (otherwise HARNESS_DATA, or the model's default), split=test,
prompts=compact or chat (otherwise by `pretrained`), unsafe_local_exec=true, allow_packages=numpy (a list in JSON for
more). Prompts are chat messages, in the model's template with `--apply_chat_template` and as plain text without; the
embedded models get their compact prompts either way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import Task as LmEvalTask
from lm_eval.config.task import TaskConfig
from lm_eval.filters import build_filter_ensemble

from harness import registry
from harness.config.embedded import COMPACT, TINY, embedded
from harness.config.recipe_files import PAPER
from harness.data.sources import default_source, parse_source
from harness.errors import require_choice
from harness.lmeval.options import TASK_PREFIX, default_decoding
from harness.records.schema import MetricTotals
from harness.task.base import Message, Score, TaskOptions
from harness.task.messages import plain_text

CHAT = "chat"
CORRECT = "correct"
VERSION = 1


class HarnessTask(LmEvalTask):
    """`harness_<task>`. A document is the example: id, question, target, and the kind of its prompt.

    Metrics are the task's own, sums of parts over sums of wholes, and `correct`, the share of solved items. Raises
    UserError for unknown metadata values, missing data, and code tasks on a machine without a sandbox.
    """

    VERSION = VERSION
    OUTPUT_TYPE = "generate_until"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._metadata = dict(config.get("metadata") or {})
        name = str(config["task"])
        self._prompts = prompt_style(self._metadata)
        kind = embedded(str(self._metadata.get("pretrained") or "")) or (TINY if self._prompts == COMPACT else "")
        self.DATASET_NAME = name.removeprefix(TASK_PREFIX)
        options = TaskOptions(
            bare_answers=kind == TINY,
            unsafe_local_exec=bool(self._metadata.get("unsafe_local_exec")),
            allow_packages=_names(self._metadata.get("allow_packages")),
        )
        self.task = registry.get_task(self.DATASET_NAME)(options)
        self.task.prepare()
        self.download()
        length = default_decoding(name, kind or PAPER).completion_length
        self._config = TaskConfig(
            task=name,
            dataset_name=self.source,
            test_split=self.split,
            num_fewshot=0,
            metric_list=[{"metric": metric} for metric in (*self.task.metrics, CORRECT)],
            generation_kwargs={"until": [], "max_gen_toks": length, "do_sample": False, "temperature": 0.0},
            metadata={"version": VERSION, "prompts": self._prompts, **self._metadata},
        )
        # lm-eval's own constructor would make another configuration and warn about its gaps.
        self._instances: list[Instance] | None = None
        self._filters = [build_filter_ensemble("none", [["take_first", None]])]
        self._scores: dict[tuple[str, str], Score] = {}

    def download(self, *args: Any, **kwargs: Any) -> None:
        """Reads or generates the examples."""
        source = parse_source(str(self._metadata.get("data") or default_source(tiny=self._prompts == COMPACT)))
        self.source, self.split = source.label, str(self._metadata.get("split") or "test")
        self._examples = {example.id: example for example in self.task.examples(self.split, source)}

    def has_training_docs(self) -> bool:
        return False

    def has_validation_docs(self) -> bool:
        """The split that is evaluated counts as test documents, whichever it is."""
        return False

    def has_test_docs(self) -> bool:
        return True

    def test_docs(self) -> list[dict[str, Any]]:
        """The examples in their order."""
        return [
            {"id": one.id, "question": one.question, "target": dict(one.target), "prompts": self._prompts}
            for one in self._examples.values()
        ]

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        """The prompt without a chat template."""
        example = self._examples[doc["id"]]
        return self.task.compact_prompt(example) if self._prompts == COMPACT else plain_text(self.task.prompt(example))

    def doc_to_target(self, doc: Mapping[str, Any]) -> str:
        """What the grader knows, as JSON."""
        return json.dumps(doc["target"], sort_keys=True, default=str)

    def fewshot_context(
        self,
        doc: Mapping[str, Any],
        num_fewshot: int = 0,
        *,
        system_instruction: str | None = None,
        chat_template: Callable[..., str] | None = None,
        **kwargs: Any,
    ) -> str:
        """The prompt as the model gets it. Our tasks have no examples in the prompt."""
        if self._prompts == COMPACT:
            return self.doc_to_text(doc)
        system: list[Message] = [{"role": "system", "content": system_instruction}] if system_instruction else []
        messages = [*system, *self.task.prompt(self._examples[doc["id"]])]
        return plain_text(messages) if chat_template is None else chat_template([dict(one) for one in messages])

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> Instance:
        """One completion per example."""
        arguments = (ctx, dict(self.config.generation_kwargs))
        return Instance(request_type=self.OUTPUT_TYPE, doc=doc, arguments=arguments, idx=0, metadata=kwargs["metadata"])

    def apply_filters(self) -> None:
        """Takes each item's first answer and scores all of them in one call, which code tasks need to be fast."""
        super().apply_filters()
        pairs = {(one.doc["id"], one.filtered_resps["none"]) for one in self.instances}
        new = sorted(pairs - self._scores.keys())
        scores = self.task.score([self._examples[item] for item, _ in new], [text for _, text in new])
        self._scores |= dict(zip(new, scores, strict=True))

    def process_results(self, doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
        """Per metric the item's part and whole, and whether it is solved."""
        score = self._scores[doc["id"], results[0]]
        ratios = {name: [score.metrics[name].part, score.metrics[name].whole] for name in self.task.metrics}
        return {**ratios, CORRECT: float(score.correct)}

    def aggregation(self) -> dict[str, Callable[..., float]]:
        """How the items of a metric become one number."""
        return {**dict.fromkeys(self.task.metrics, ratio), CORRECT: mean}

    def higher_is_better(self) -> dict[str, bool]:
        return dict.fromkeys((*self.task.metrics, CORRECT), True)


def ratio(items: Sequence[Sequence[float]]) -> float:
    """Sum of the parts by the sum of the wholes, of [part, whole] per item."""
    return sum(part for part, _ in items) / sum(whole for _, whole in items)


def ratio_error(items: Sequence[Sequence[float]]) -> float:
    """The standard error of `ratio` over the items."""
    return MetricTotals.of((part, whole) for part, whole in items).standard_error


def _names(value: object) -> Sequence[str]:
    return [str(name) for name in value] if isinstance(value, list) else [str(value)] if value else []


def prompt_style(metadata: Mapping[str, Any]) -> str:
    """compact for the embedded models and folders of their kind, chat for all others, unless metadata says it.

    Raises UserError for another word.
    """
    said = metadata.get("prompts")
    if said is not None:
        require_choice("prompts", str(said), (COMPACT, CHAT))
        return str(said)
    pretrained = str(metadata.get("pretrained") or "")
    return COMPACT if embedded(pretrained) else CHAT
