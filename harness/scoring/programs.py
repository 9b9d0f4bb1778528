"""The program in a completion, as the robust grader reads it, or the reason that there is none. No torch.

What is read, in this order: the text in question where it is Python that defines what the tests call; the last fenced
block that does; the last block of Python, whatever it defines; the text where it is Python at all. The text in question
is the last closed answer block or, without one, the completion up to its end token, and that may stand without fences
only with `bare`.
"""

from __future__ import annotations

import ast
import textwrap
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.scoring.answers import last_answer, until_end
from harness.scoring.blocks import PYTHON, Block, fenced_blocks

# Longer texts are never parsed in this process: some cost Python's parser seconds. They run as they are.
LONGEST_PARSED = 30_000
FENCE = "```"
MARK_OPEN, MARK_CLOSE = "[BEGIN]", "[DONE]"
"""Around programs in the few-shot prompt of MBPP (Austin et al. 2021, section 3.1)."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A program, or None with the reason."""

    code: str | None
    reason: str = ""


def read_program(text: str, *, bare: bool, completes: Callable[[str], bool]) -> Reading:
    """The program of a completion.

    bare: whether a text without fences and tags may be one. completes: whether a piece of code is Python that defines
    what the tests call.
    """
    scope = until_end(text)
    answer = last_answer(scope)
    scope = scope if answer is None else answer
    blocks = list(fenced_blocks(scope))
    python = [block.text for block in blocks if block.may_be_python and block.text.strip()]
    plain = [_between_marks(scope), scope] if answer is not None or bare else []
    for code in reversed([*python, *plain]):
        for variant in dict.fromkeys((code, textwrap.dedent(code))):
            if completes(variant):
                return Reading(code=variant)
    named = [block.text for block in blocks if block.language in PYTHON and block.text.strip()]
    others = named or [code for code in (*plain, *python) if is_python(code)]
    return Reading(code=others[-1]) if others else Reading(code=None, reason=_why_none(text, scope, blocks, bare=bare))


def _between_marks(text: str) -> str:
    return text.partition(MARK_CLOSE)[0].rpartition(MARK_OPEN)[2]


def _why_none(text: str, scope: str, blocks: list[Block], *, bare: bool) -> str:
    whole = until_end(text)
    has_answer = last_answer(whole) is not None
    languages = sorted({block.language for block in blocks if not block.may_be_python})
    if not text.strip():
        reason = ": the completion is empty"
    elif FENCE in text[len(whole) :]:
        reason = " before the end token; what follows it does not count"
    elif has_answer and FENCE in whole.replace(scope, "", 1):
        reason = " in the last answer block; what stands outside it does not count"
    elif languages:
        reason = f": the code blocks are {', '.join(languages)}"
    elif FENCE in scope:
        reason = ": no code block holds Python"
    elif has_answer:
        reason = f": the answer block is {'not Python' if scope.strip() else 'empty'}"
    else:
        reason = ": no code block, and the text itself is not Python" if bare else ": no code block and no answer block"
    return f"no program{reason}"


def is_python(code: str) -> bool:
    """Whether code is Python and does something; a text too long to be parsed here counts as such."""
    if len(code) > LONGEST_PARSED:
        return True
    tree = parsed(code)
    return tree is not None and bool(tree.body)


def defined_names(code: str) -> set[str]:
    """The names that code binds outside functions and classes; none where it is not Python or too long."""
    tree = parsed(code)
    return set() if tree is None else names_bound([tree])


def parsed(code: str) -> ast.Module | None:
    """The syntax tree of code that nobody trusts, None where it is not Python or too long to be parsed here."""
    if len(code) > LONGEST_PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def names_bound(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that nodes bind in their own scope: functions, classes, imports and assignments of every form."""
    names, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            waiting += ast.iter_child_nodes(node)
    return names
