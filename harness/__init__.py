"""Reference harness for reinforcement learning of masked diffusion language models.

The public names are functions of `harness.app`, imported when they are first used: `import harness` is quick and loads
neither torch nor pandas. docs/api.md shows them at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.app.api import load_method, load_task, run
    from harness.app.compare import ComparisonRequest, NoiseSettings, compare
    from harness.app.evaluate import EvaluationRequest, evaluate
    from harness.app.export import export
    from harness.app.frames import read_runs
    from harness.app.grade import grade
    from harness.app.models import load_model
    from harness.app.sft import sft
    from harness.config.served import Server
    from harness.errors import UserError

__version__ = "0.1.0"

__all__ = [
    "ComparisonRequest",
    "EvaluationRequest",
    "NoiseSettings",
    "Server",
    "UserError",
    "compare",
    "evaluate",
    "export",
    "grade",
    "load_method",
    "load_model",
    "load_task",
    "read_runs",
    "run",
    "sft",
]

_MODULES = {
    "ComparisonRequest": "harness.app.compare",
    "EvaluationRequest": "harness.app.evaluate",
    "NoiseSettings": "harness.app.compare",
    "Server": "harness.config.served",
    "UserError": "harness.errors",
    "compare": "harness.app.compare",
    "evaluate": "harness.app.evaluate",
    "export": "harness.app.export",
    "grade": "harness.app.grade",
    "load_method": "harness.app.api",
    "load_model": "harness.app.models",
    "load_task": "harness.app.api",
    "read_runs": "harness.app.frames",
    "run": "harness.app.api",
    "sft": "harness.app.sft",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    globals()[name] = value = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
