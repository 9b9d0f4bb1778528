"""Files of completions as other tools write them, made from rows of MBPP and HumanEval and one completion each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]
Texts = Sequence[str]


def fenced(code: str) -> str:
    return f"Here is the program.\n\n```python\n{code}\n```\n\nIt passes the tests."


def question(row: Mapping[str, Any]) -> str:
    return str(row["prompt"])


def tests(row: Mapping[str, Any]) -> list[str] | None:
    return [*row["test_imports"], *row["test_list"]] if "test_list" in row else None


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def document(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, indent=1))
    return path


def human_eval(folder: Path, rows: Rows, plain: Texts) -> Path:
    made = [{"task_id": row["task_id"], "completion": text} for row, text in zip(rows, plain, strict=True)]
    return lines(folder / "human-eval.jsonl", made)


def eval_plus(folder: Path, rows: Rows, plain: Texts) -> Path:
    ids = [row["task_id"] if "entry_point" in row else f"Mbpp/{row['task_id']}" for row in rows]
    return lines(
        folder / "evalplus.jsonl",
        [{"task_id": name, "solution": text} for name, text in zip(ids, plain, strict=True)],
    )


def lm_eval(folder: Path, rows: Rows, plain: Texts) -> Path:
    made = [
        {"doc_id": number, "doc": row, "target": "t", "resps": [[text]], "filtered_resps": [text], "filter": name}
        for name in ("create_test", "none")
        for number, (row, text) in enumerate(zip(rows, plain, strict=True))
    ]
    return lines(folder / "samples_lm-eval.jsonl", made)


def open_compass(folder: Path, rows: Rows, plain: Texts) -> Path:
    def gold(row: Mapping[str, Any]) -> str:
        asserts = tests(row)
        return str(row["task_id"]) if asserts is None else "\n".join(asserts)

    made = {
        str(number): {
            "origin_prompt": [{"role": "HUMAN", "prompt": f"Solve it.\n{question(row)}"}],
            "prediction": f"[BEGIN]\n{text}\n[DONE]\nNext: it's" if "test_list" in row else fenced(text),
            "gold": gold(row),
        }
        for number, (row, text) in enumerate(zip(rows, plain, strict=True))
    }
    return document(folder / "opencompass.json", made)


def bigcode(folder: Path, rows: Rows, plain: Texts) -> Path:
    return document(folder / "generations.json", [[text, text] for text in plain])


def verl(folder: Path, rows: Rows, plain: Texts) -> Path:
    made = [
        {
            "input": f"user\n{question(row)}\nassistant\n",
            "output": fenced(text),
            "gts": tests(row),
            "score": 1.0,
            "step": 7,
        }
        for row, text in zip(rows, plain, strict=True)
    ]
    return lines(folder / "7.jsonl", made)


def trl(folder: Path, rows: Rows, plain: Texts) -> Path:
    import pyarrow
    import pyarrow.parquet

    made = [
        {
            "step": 7,
            "prompt": f"<|user|>{question(row)}\n{(tests(row) or [''])[-1]}<|assistant|>",
            "completion": fenced(text),
            "advantage": 0.5,
        }
        for row, text in zip(rows, plain, strict=True)
    ]
    path = folder / "completions_00007.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), path)
    return path


def dllm_rl(folder: Path, rows: Rows, plain: Texts) -> Path:
    def tested(row: Mapping[str, Any]) -> list[str]:
        body = "".join(f"    {line}\n" for line in tests(row) or ["pass"])
        return [f"\n\ndef check(candidate):\n{body}\ncheck(0)\n"]

    made = [
        {
            "question": question(row),
            "test_list": tested(row),
            "test_method": "function",
            "prefix": "```python\n",
            "full_output": [f"{text}\n```<|eot_id|><|endoftext|>"] * 2,
            "extracted_output": [text] * 2,
            "prompt": "p",
        }
        for row, text in zip(rows, plain, strict=True)
    ]
    return document(folder / "outputs.json", made)


def with_targets(folder: Path, rows: Rows, plain: Texts) -> Path:
    made = [
        {"prompt": question(row), "completion": f"<answer>\n{text}\n</answer>", "target": tests(row)}
        for row, text in zip(rows, plain, strict=True)
    ]
    return lines(folder / "targets.jsonl", made)


def d1(folder: Path, rows: Rows, plain: Texts) -> Path:
    made = [
        {"question": question(row), "ground_truth": tests(row), "generations": fenced(text)}
        for row, text in zip(rows, plain, strict=True)
    ]
    return document(folder / "d1_generations.json", {"metrics": {"time": 1}, "generations": made})


Writer = Callable[[Path, Rows, Texts], Path]
BY_ID_OR_PROMPT: tuple[Writer, ...] = (human_eval, eval_plus, lm_eval, open_compass, verl, trl, dllm_rl)
WITH_ANSWERS: tuple[Writer, ...] = (with_targets, d1)
SEVERAL = {dllm_rl: 2, bigcode: 2}
"""Completions of each row, where not one."""
