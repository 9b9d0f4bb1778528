"""The graders as a metric of Hugging Face `evaluate`, loaded by the path of this file, without network:

    metric = evaluate.load(harness.evaluation.metric.__file__, "gsm8k")
    metric.compute(predictions=["... <answer>18</answer>"], references=["18"])

The configuration's name is the task. A reference is the item's answer as text: the number or LaTeX; as JSON
`[[3, 4, 5], 17]` for Countdown; a whole row of the data set as JSON for Sudoku, MBPP and HumanEval, which works for
all. Answers without tags count only with `bare_answers=True`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import datasets
import evaluate

from harness.evaluation.judge import totals
from harness.registry import get_task
from harness.task.base import Example, Task, TaskOptions

FEATURES = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}


class HarnessMetric(evaluate.Metric):
    """Each of the task's metrics and the mean training reward."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Graders and rewards of the harness for reinforcement learning of diffusion models.",
            citation="",
            inputs_description="predictions: completions; references: answers, or rows of the data set as JSON.",
            features=datasets.Features(FEATURES),
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        profile: str = "official",
        bare_answers: bool = False,
        unsafe_local_exec: bool = False,
        allow_packages: Sequence[str] = (),
    ) -> dict[str, float]:
        options = TaskOptions(
            profile=profile,
            bare_answers=bare_answers,
            unsafe_local_exec=unsafe_local_exec,
            allow_packages=allow_packages,
        )
        task = get_task(self.config_name)(options)
        scores = task.score([read_reference(task, text) for text in references], predictions)
        metrics = {name: sums.value for name, sums in totals(task, scores).items()}
        return {**metrics, "reward": sum(score.reward for score in scores) / len(scores)}


def read_reference(task: Task, text: str) -> Example:
    """The example of a reference. Raises UserError where the text is none of this task."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(value, dict):
        return task.read_row(value)
    return task.example_for("", value if isinstance(value, list) else text)
