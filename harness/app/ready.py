"""What has to be there before a run begins: its model, by name alone, and its examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.app.plan import PlannedRun
from harness.config.tree import VALIDATION
from harness.errors import UserError
from harness.task.base import Example
from harness.task.prompts import set_prompts

if TYPE_CHECKING:
    from harness.rl.evaluator import Data

log = logging.getLogger(__name__)


def check_before_all(cells: Sequence[PlannedRun]) -> None:
    """Raises UserError where the model of a cell that is not finished does not exist; of several cells, where their
    data are missing too, so that no cell fails by that after others have run."""
    waiting = [cell for cell in cells if not cell.finished]
    for cell in {(one.resolved.config.model.name, one.resolved.config.task): one for one in waiting}.values():
        check_model(cell)
    for cell in {(one.resolved.config.task, one.resolved.config.data): one for one in waiting[1:]}.values():
        load_data(cell)


def check_model(planned: PlannedRun) -> None:
    """Raises UserError where there is no such model; of one on the hub no more than config.json is fetched."""
    from harness.models.checkpoints import require_model

    require_model(planned.resolved.config.model.name, planned.resolved.config.task)


def load_data(planned: PlannedRun) -> Data:
    """Training examples, evaluation and validation items; the task has its prompts afterwards.

    Training examples that the test or validation list holds are left out where the task says so, and so are the worked
    ones. Raises UserError where a source has no such split.
    """
    from harness.rl.evaluator import Data

    config, task = planned.resolved.config, planned.task
    evaluation = config.evaluation
    tested = task.examples(evaluation.split, planned.test_source)
    validated = task.examples(VALIDATION, planned.test_source) if evaluation.validation_items else []
    train = task.without_test_items(task.examples("train", planned.train_source), [*tested, *validated])
    if not train:
        raise UserError(
            f"'{planned.train_source.label}' has no training examples of {task.name} other than the test items."
        )
    found = Data(
        evaluation=_first(planned, tested, evaluation.split, "items"),
        validation=_first(planned, validated, VALIDATION, "validation_items"),
        train=set_prompts(task, planned.prompts, train, config.data.few_shot),
        evaluation_label=planned.test_source.label,
    )
    log.info(
        "Data: %s training examples from %s; %s items of split %s from %s, %s for validation",
        *(f"{len(found.train):,}", planned.train_source.label, f"{len(found.evaluation):,}"),
        *(evaluation.split, planned.test_source.label, f"{len(found.validation):,}"),
    )
    return found


def _first(planned: PlannedRun, examples: Sequence[Example], split: str, key: str) -> Sequence[Example]:
    """As many examples as the configuration says. Raises UserError where there are fewer."""
    wanted = getattr(planned.resolved.config.evaluation, key)
    if len(examples) < wanted:
        raise UserError(
            f"evaluation.{key}={wanted}, but split '{split}' of {planned.identity.task} from "
            f"'{planned.test_source.label}' has {len(examples)}; lower it with --set evaluation.{key}={len(examples)}."
        )
    return examples[:wanted]
