"""From lm-eval's generation arguments to a Decoding: names, precedence, lengths in whole blocks. No torch.

A request's `--gen_kwargs` and its task's `generation_kwargs` (lm-eval merges the two) come before model_args, and these
before the default: the recipe's evaluation of one of our tasks, otherwise the published protocol, which is 256 tokens
in blocks of 32, two tokens per step.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import registry
from harness.config.build import build
from harness.config.decoding import Decoding
from harness.config.recipes import PROTOCOL, protocol_decoding
from harness.errors import UserError, require_positive, unknown_choice

TASK_PREFIX = "harness_"
LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens", "completion_length")
DECODING_NAMES = tuple(field.name for field in dataclasses.fields(Decoding) if field.name != "completion_length")
NEUTRAL = {"num_beams": 1, "repetition_penalty": 1.0}
"""What tasks say to autoregressive models that changes nothing: ignored with these values, refused with others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What one request asks for. The completion is cut after max_tokens tokens, its text at the first of `until`."""

    decoding: Decoding
    max_tokens: int
    until: tuple[str, ...]

    @property
    def is_sampled(self) -> bool:
        """Whether anything is drawn at random."""
        return self.decoding.temperature > 0 or self.decoding.remasking == "random"


def generation(gen_kwargs: Mapping[str, Any], model_options: Mapping[str, Any], base: Decoding) -> Generation:
    """The Generation of a request.

    model_options: decoding options of model_args, lengths among them. base: the default, whose block length and tokens
    per step hold for other lengths too. The completion length is the number of tokens asked for, rounded up to whole
    blocks. Raises UserError for unknown names and values outside their range.
    """
    kwargs = dict(gen_kwargs)
    until = _until(kwargs.pop("until", ()))
    for name, value in NEUTRAL.items():
        if kwargs.get(name) == value:
            del kwargs[name]
    temperature = _temperature(kwargs, model_options)
    given = {**model_options, **kwargs}
    max_tokens = _max_tokens(kwargs, _max_tokens(model_options, base.completion_length))
    chosen = {name: value for name, value in given.items() if name not in LENGTH_NAMES and value is not None}
    decoding = _fit(base, max_tokens, {**chosen, "temperature": temperature})
    decoding.check("gen_kwargs")
    return Generation(decoding=decoding, max_tokens=max_tokens, until=until)


def check_model_options(options: Mapping[str, Any]) -> None:
    """Raises UserError for a name in model_args that is no decoding option, or an impossible value."""
    known = (*DECODING_NAMES, *LENGTH_NAMES)
    for name in options:
        if name not in known:
            raise unknown_choice("option in model_args", name, known)
    build(Decoding, {name: value for name, value in options.items() if name not in LENGTH_NAMES}, "model_args")


def default_decoding(task_name: str, section: str) -> Decoding:
    """How `harness_<task>` is evaluated: as `harness eval` does; any other task as the protocol says. section: of the
    task's protocol."""
    task = task_name.removeprefix(TASK_PREFIX)
    if not task_name.startswith(TASK_PREFIX) or task not in registry.names("task"):
        return PROTOCOL
    return protocol_decoding(task, section)


def _fit(base: Decoding, max_tokens: int, chosen: Mapping[str, Any]) -> Decoding:
    """The base with the chosen options, its completion long enough for max_tokens."""
    changed: Decoding = build(Decoding, {**dataclasses.asdict(base), **chosen}, "gen_kwargs")
    require_positive("gen_kwargs", block_length=changed.block_length)
    block = changed.block_length
    if "block_length" not in chosen:
        block = max_tokens if changed.schedule == "dream" else min(block, max_tokens)
    length = math.ceil(max_tokens / block) * block
    steps = changed.num_steps
    if "num_steps" not in chosen:
        steps = max(length // block, round(length * base.num_steps / base.completion_length))
    return dataclasses.replace(changed, completion_length=length, block_length=block, num_steps=steps)


def _max_tokens(options: Mapping[str, Any], otherwise: int) -> int:
    for name in LENGTH_NAMES:
        value = options.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{name}={value!r} must be a whole number above 0.")
        return value
    return otherwise


def _temperature(kwargs: dict[str, Any], model_options: Mapping[str, Any]) -> float:
    """Takes do_sample out of kwargs: false is greedy, as in lm-eval, true without a temperature samples at 1."""
    do_sample = kwargs.pop("do_sample", None)
    temperature = kwargs.pop("temperature", model_options.get("temperature", 1.0 if do_sample else 0.0))
    if do_sample is not False:
        return temperature
    if temperature:
        log.warning("do_sample=False comes before temperature=%s: greedy. Give do_sample=True to sample.", temperature)
    return 0.0


def _until(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"until={value!r} must be a text or a list of texts.")
    return tuple(text for text in texts if text)


def cut(text: str, until: tuple[str, ...]) -> str:
    """The text before the first stop text in it."""
    return text[: min((place for place in map(text.find, until) if place >= 0), default=len(text))]
