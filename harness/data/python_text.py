"""Texts that stand in somebody else's Python files, read from the syntax tree: nothing is imported or run.

A place is written `FILE: NAME.NAME[2]`: a constant, class or function of the file, then what is called so inside it,
the third one where there are several. A name is given by an assignment, an entry of a dictionary, or a keyword.

    eval/gsm8k.py: GSM_SYSTEM_PROMPT
    espo/data_utils.py: get_countdown_questions.content
    gsm8k_gen.py: gsm8k_infer_cfg.prompt[8]

A text is a literal, an f-string, a sum of texts, or the name of a constant that is one. Nothing is computed: `fields`
says which text stands for an expression such as `x['nums']`, and for a name in braces, `{problem}`, in a literal that
the authors fill in later.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UserError
from harness.records.small import read_small

LARGEST_FILE = 1 << 20
LONGEST_TEXT = 1 << 16
PLACE = re.compile(r"(?P<file>[\w./-]+\.py): (?P<names>\w+(\.\w+)*)(\[(?P<number>\d{1,3})\])?")
NAME_IN_BRACES = re.compile(r"\{([A-Za-z_]\w*)\}")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def read_text(folder: Path, place: str, fields: Mapping[str, str]) -> str:
    """The text at `place` in a folder of Python files, as a template: names that stand in braces in it are doubled.

    fields: an expression, as `ast.unparse` writes it, or a name in braces to the template that stands for it. Raises
    UserError where there is no such text, and for a file that is too large, outside the folder, or not Python.
    """
    match = PLACE.fullmatch(place)
    if match is None:
        raise UserError(f"'{place}' does not name a text as FILE.py: NAME does.")
    module = _parse(folder, match["file"])
    first, *inner = match["names"].split(".")
    try:
        found = [value for name, value in _named(module.body) if name == first][:1]
        for number, name in enumerate(inner, start=1):
            index = int(match["number"] or 0) if number == len(inner) else 0
            within = (pair for node in found for pair in _named([node], deep=True))
            found = [value for known, value in within if known == name][index : index + 1]
        if not found or isinstance(found[0], _Definition):
            missing = place.partition(": ")[2]
            raise UserError(f"'{folder / match['file']}' has no text '{missing}'; is it another version?")
        return _Reader(module=module, fields=fields, place=f"'{folder}', {place}").text(found[0])
    except RecursionError as error:
        raise UserError(f"'{folder}', {place}: the expressions are nested too deeply.") from error


def _parse(folder: Path, file: str) -> ast.Module:
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"'{path}' leads out of '{folder}'.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(read_small(path, LARGEST_FILE))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"'{path}' cannot be read as Python ({error or type(error).__name__}).") from error


def _named(nodes: list[ast.stmt] | list[ast.AST], *, deep: bool = False) -> Iterator[tuple[str, ast.AST]]:
    """Names and what they are given in the nodes, in the order of the file; with `deep` in everything below, too."""
    for node in nodes:
        yield from _names_given(node)
        if deep:
            yield from _named(list(ast.iter_child_nodes(node)), deep=True)


def _names_given(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, node
        case ast.Assign(targets=targets, value=value):
            yield from ((name, value) for name in map(_target, targets) if name)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield _target(target), value
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
        case ast.Call(keywords=keywords):
            yield from ((keyword.arg, keyword.value) for keyword in keywords if keyword.arg)


def _target(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""


@dataclass(kw_only=True)
class _Reader:
    """Reads the texts of one module. constants: those that were read before, so that none is read twice."""

    module: ast.Module
    fields: Mapping[str, str]
    place: str
    constants: dict[str, str] = field(default_factory=dict)

    def text(self, node: ast.AST) -> str:
        """Raises UserError for an expression that is no text and none of the fields."""
        match node:
            case ast.Constant(value=str(value)):
                return self._bounded(NAME_IN_BRACES.sub(self._literal, value))
            case ast.JoinedStr(values=values):
                return self._bounded("".join(map(self.text, values)))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._bounded(self.text(left) + self.text(right))
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return self.text(value)
            case ast.Name(id=name) if name not in self.fields:
                return self._constant(name)
        expression = ast.unparse(node)
        if expression not in self.fields:
            raise UserError(f"{self.place}: the value of '{expression[:60]}' is not known; is it another version?")
        return self.fields[expression]

    def _literal(self, match: re.Match[str]) -> str:
        return self.fields.get(match[0], f"{{{match[0]}}}")

    def _constant(self, name: str) -> str:
        if name not in self.constants:
            found = [value for known, value in _named(self.module.body) if known == name]
            if not found or isinstance(found[0], _Definition):
                raise UserError(f"{self.place}: '{name}' is not a constant of the file; is it another version?")
            self.constants[name] = self.text(found[0])
        return self.constants[name]

    def _bounded(self, text: str) -> str:
        if len(text) > LONGEST_TEXT:
            raise UserError(f"{self.place}: the text has more than {LONGEST_TEXT:,} characters.")
        return text
