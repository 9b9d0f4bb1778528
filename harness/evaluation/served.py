"""A completion that a server made: what it tells of it, and nothing else. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class ServedCompletion:
    """One completion. tokens: generated, as the server counts them, None where it does not say. finish: why it ended:
    `stop`, or `length` where it was cut. seconds: since the completion before it came, so that they add up to the time
    that all took."""

    text: str
    tokens: int | None
    finish: str
    seconds: float = 0.0

    forwards: ClassVar[None] = None
    flops: ClassVar[None] = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ServedCompletion:
        """Reads what `dataclasses.asdict` wrote as JSON."""
        return cls(**values)

    @property
    def counts(self) -> dict[str, Any]:
        """What a sample says of it beside its text."""
        return {"tokens": self.tokens, "finish": self.finish}
