"""The process in which a downloaded file's chat template is rendered, its pattern of layer names is matched, and its
tokenizer.json is tried.

Any of them can ask for more time or memory than there is, and the tokenizers library may abort. Lines of JSON come in,
`[what, arguments]`, and go out, `{"result": ...}` or `{"error": reason}`. The kernel ends this process where a request
takes too long, which no code can hold back, and refuses memory beyond the limit. Nothing is imported before it is
needed: a pattern needs no template.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

CPU_SECONDS: Mapping[str, float] = {"render": 5.0, "match": 5.0, "try_tokenizer": 60.0}
WALL_SECONDS = 120.0
MEMORY_BYTES = 2 << 30
MOST_CHARACTERS = 1 << 24
LONGEST_REASON = 300
TRIED_TEXTS = ("", "".join(map(chr, range(9, 127))), "a" * 99, "é 漢字 ✓\u200b\U0001f600", "  \n\n 12345.678  <answer>")


def main() -> None:
    """Serves until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        what, arguments = json.loads(line)
        work = WORK[what]()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        _limit(CPU_SECONDS[what], WALL_SECONDS)
        answer = _answer(work, arguments)
        _limit(0.0, 0.0)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _answer(work: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    try:
        return json.dumps({"result": work(**arguments)})
    except MemoryError:
        return json.dumps({"error": f"it needs more than {MEMORY_BYTES >> 30} GiB of memory"})
    except (
        BaseException
    ) as error:  # a template may raise whatever Python can raise, and a panic of Rust's is no Exception
        reason = " ".join(str(error).split())[:LONGEST_REASON].rstrip(".")
        return json.dumps({"error": reason or type(error).__name__})


def _limit(cpu_seconds: float, wall_seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)


def _template_renderer() -> Callable[..., str]:
    """transformers' own rendering, so that the text is the one that it gives."""
    from transformers.utils.chat_template_utils import render_jinja_template

    def render(
        template: str, messages: Sequence[Mapping[str, str]], variables: Mapping[str, Any], continue_last: bool
    ) -> str:
        (text,), _ = render_jinja_template(
            conversations=[messages],
            chat_template=template,
            add_generation_prompt=not continue_last,
            continue_final_message=continue_last,
            **variables,
        )
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"it writes {len(text):,} characters, more than {MOST_CHARACTERS:,}")
        return text

    return render


def _match(pattern: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if re.fullmatch(pattern, name)]


def _tokenizer_trial() -> Callable[..., None]:
    from tokenizers import Tokenizer

    def try_tokenizer(path: str) -> None:
        tokenizer = Tokenizer.from_file(path)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        for text in TRIED_TEXTS:
            tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids)

    return try_tokenizer


WORK: Mapping[str, Callable[[], Callable[..., Any]]] = {
    "render": _template_renderer,
    "match": lambda: _match,
    "try_tokenizer": _tokenizer_trial,
}

if __name__ == "__main__":
    main()
