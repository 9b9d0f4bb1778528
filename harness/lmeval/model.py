"""`diffusion_lm`: masked diffusion language models as a model type of lm-eval (EleutherAI's evaluation harness).

    harness lm-eval run --model diffusion_lm --model_args pretrained=tiny --tasks harness_sudoku

Importing this module registers the type and our tasks, `harness_<task>`. What a request asks for is turned into token
ids, options and a key; what the store does not hold is computed, batch by batch, and stored at once. Options and
their precedence: docs/lm-eval.md.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook, TemplateLM
from torch import Tensor

from harness.config.decoding import Decoding
from harness.config.tree import ModelConfig
from harness.distributed.environment import describe
from harness.distributed.processes import was_started_alone_by_mistake
from harness.distributed.shard import join
from harness.errors import UserError
from harness.evaluation.batches import LARGEST_AUTO, BatchSize
from harness.evaluation.likelihood import LikelihoodOptions
from harness.evaluation.store import AnswerStore
from harness.lmeval import options
from harness.lmeval.answering import Answering, Asked
from harness.lmeval.completions import Order
from harness.lmeval.models import LoadedModel, Models
from harness.lmeval.registration import register
from harness.lmeval.tasks import CHAT
from harness.models.checkpoints import resolve_device
from harness.models.tokenizers import CheckpointTokenizer
from harness.task.base import Message

log = logging.getLogger(__name__)


class DiffusionEvalLM(TemplateLM):
    """A masked diffusion language model for lm-eval.

    pretrained: tiny, small, a folder, or a hub id. peft, peft_subfolder: a published adapter. dtype: as in ModelConfig,
    or auto for that of the files. device: auto, cpu, cuda or cuda:N; a launcher of several processes chooses itself.
    cpu_fallback: use the CPU where the named GPU is not there, instead of an error.
    batch_size: prompts per forward pass, or auto. cache: folder of the answers. seed: of all draws. tiny_task: the
    tiny weights for tasks that are not ours. max_length: tokens of prompt and completion, 0 for the model's own.
    likelihood_draws, likelihood_rows, likelihood_guidance_scale: as in LikelihoodOptions. greedy_check: whether
    loglikelihood also decodes, to say if the continuation is the greedy one. decoding: defaults of the decoding
    options, max_gen_toks among them.

    Raises UserError for unknown options and values, a model that cannot be loaded and a device that is not there.
    """

    def __init__(
        self,
        pretrained: str = "tiny",
        *,
        peft: str = "",
        peft_subfolder: str = "",
        quantization: str = "",
        dtype: str = "float32",
        device: str = "auto",
        batch_size: int | str = 1,
        max_batch_size: int = LARGEST_AUTO,
        max_length: int = 0,
        cache: str = "",
        seed: int = 0,
        tiny_task: str = "",
        cpu_fallback: bool = False,
        likelihood_draws: int = LikelihoodOptions.draws,
        likelihood_rows: int = LikelihoodOptions.rows,
        likelihood_guidance_scale: float = LikelihoodOptions.guidance_scale,
        greedy_check: bool = True,
        **decoding: Any,
    ) -> None:
        super().__init__()
        options.check_model_options(decoding)
        self._decoding_options = decoding
        self._decodings: dict[str, Decoding] = {}
        self._greedy_check = greedy_check
        likelihood = LikelihoodOptions(
            draws=likelihood_draws, rows=likelihood_rows, guidance_scale=likelihood_guidance_scale
        )
        likelihood.check()
        rows = BatchSize(batch_size, max_batch_size)
        device = check_device(str(device), cpu_fallback=cpu_fallback)
        if was_started_alone_by_mistake():
            log.warning("accelerate launch --cpu starts one process, however many are asked for; give --multi_gpu.")
        self._shard = join(device)
        self._rank, self._world_size = self._shard.index, self._shard.count
        self._store = AnswerStore(Path(cache) if cache else None, process=self.rank)
        config = ModelConfig(
            name=str(pretrained),
            dtype=dtype,
            adapter=peft,
            adapter_subfolder=peft_subfolder,
            quantization=quantization,
        )
        self._models = Models(config, device=str(self._shard.device or device), tiny_task=tiny_task)
        tokenizer = self._models.main.model.tokenizer
        self.tokenizer = tokenizer.backend if isinstance(tokenizer, CheckpointTokenizer) else None
        self._answering = Answering(
            models=self._models,
            store=self._store,
            shard=self._shard,
            batch_size=rows,
            likelihood=likelihood,
            max_length=max_length or self._models.main.max_length,
            seed=seed,
        )

    # What lm-eval asks

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """One text per request, cut at its own stop texts, in the order of the requests."""
        asked = [self._completion(request, repeat) for request, repeat in _with_repeats(requests)]
        answers = self._answering.completions([one for one, _ in asked], "generate_until", quiet=disable_tqdm)
        texts = [options.cut(answer["text"], until) for (_, until), answer in zip(asked, answers, strict=True)]
        for request, text in zip(requests, texts, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, text)
        return texts

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Monte-Carlo log p(continuation | context) in nats, and whether greedy decoding gives the continuation."""
        pairs = [(one.task_name, *self._token_pair(*one.args)) for one in requests]
        values = self._likelihoods(pairs, greedy=self._greedy_check, quiet=disable_tqdm)
        for request, value in zip(requests, values, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, value)
        return values

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Monte-Carlo log p(text) in nats; a text longer than the model is cut into windows of half its length, each
        after as much of the text before."""
        cut = [windows(self.tok_encode(one.args[0]), self.max_length) for one in requests]
        pairs = [(one.task_name, *pair) for one, mine in zip(requests, cut, strict=True) for pair in mine]
        values = iter(self._likelihoods(pairs, greedy=False, quiet=disable_tqdm))
        return [sum(next(values)[0] for _ in mine) for mine in cut]

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """The same for token ids, by the model of no particular task."""
        pairs = [(None, context, answer) for _, context, answer in requests]
        return self._likelihoods(pairs, greedy=self._greedy_check, quiet=disable_tqdm)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids; special tokens written out in the text become their ids, none is added."""
        return self._models.main.model.tokenizer.encode(string)

    @property
    def eot_token_id(self) -> int:
        """The first of the tokens that end a completion."""
        return self._models.main.model.special.end_ids[0]

    @property
    def max_length(self) -> int:
        """Tokens of prompt and completion together."""
        return self._answering.max_length

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """The messages in the checkpoint's chat template; without generation prompt the last one stays open."""
        tokenizer = self._models.main.model.tokenizer
        if not isinstance(tokenizer, CheckpointTokenizer) or not tokenizer.has_chat_template:
            raise UserError(
                f"Model '{self._models.config.name}' has no chat template; leave --apply_chat_template out."
            )
        return tokenizer.apply_chat_template(chat_history, continue_last=not add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template that `--apply_chat_template` uses; None without the flag or where there is none."""
        return getattr(self.tokenizer, "chat_template", None) if chat_template else None

    @property
    def tokenizer_name(self) -> str:
        """The model's name, for lm-eval's cache of built prompts."""
        return self._models.config.name.replace("/", "__")

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Says what lm-eval's own cache does not look at."""
        super().set_cache_hook(cache_hook)
        log.warning(
            "--use_cache is keyed by the prompt and its gen_kwargs alone: after a change of model, adapter or "
            "model_args it hands out old answers. Use cache=DIR in --model_args, which is keyed by all of them."
        )

    def close(self) -> None:
        """Gives the cache's folder free for another evaluation; the end of the process does so too."""
        self._store.close()

    def get_model_info(self) -> dict[str, Any]:
        """Model, hardware, decoding by task and cost, for the `config` of lm-eval's results."""
        main, config = self._models.main, self._models.config
        return {
            "model_num_parameters": sum(weight.numel() for weight in main.model.predictor.parameters()),
            "model_dtype": main.identity["dtype"],
            "model_revision": "",
            "model_sha": main.identity["weights"],
            "weights": {task or config.name: one.identity["weights"] for task, one in self._models.loaded.items()},
            "peft": "/".join(part for part in (config.adapter, config.adapter_subfolder) if part),
            "quantization": config.quantization,
            "decoding": {task: decoding.to_record() for task, decoding in sorted(self._decodings.items())},
            "likelihood": {**asdict(self._answering.likelihood), "greedy_check": self._greedy_check},
            "seed": self._answering.seed,
            "cost": self._answering.cost(),
            "hardware": describe(str(main.model.device)),
            "processes": self.world_size,
            "rows_per_forward": self._answering.batch_size.rows,
        }

    # Processes

    @property
    def device(self) -> torch.device:
        return self._models.main.model.device

    def all_gather(self, tensor: Tensor) -> Tensor:
        return self._shard.all_gather(tensor)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """The objects of all processes on `dst`, None on the others."""
        gathered = self._shard.gather_items([obj])
        return gathered if self.rank == dst else None

    def barrier(self) -> None:
        self._shard.wait()

    # From lm-eval's requests to ours

    def _completion(self, request: Instance, repeat: int) -> tuple[Asked[Order], tuple[str, ...]]:
        """What a request asks for, and the texts that it is cut at."""
        prompt, gen_kwargs = request.args
        loaded = self._models.for_task(request.task_name)
        _check_prompt_style(request, loaded)
        task = request.task_name or ""
        base = options.default_decoding(task, self._models.section)
        wanted = options.generation(gen_kwargs, self._decoding_options, base)
        self._decodings[task] = wanted.decoding
        draws = {"seed": self._answering.seed, "repeat": repeat} if wanted.is_sampled else {}
        ids = self.tok_encode(prompt)
        order = self._answering.order(loaded, ids, wanted.decoding, max_tokens=wanted.max_tokens, draws=draws)
        return order, wanted.until

    def _likelihoods(
        self, pairs: Sequence[tuple[str | None, Sequence[int], Sequence[int]]], *, greedy: bool, quiet: bool
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each (task, context ids, answer ids); an empty answer is certain."""
        asked = [
            self._answering.question(self._models.for_task(task), context, answer)
            for task, context, answer in pairs
            if answer
        ]
        answers = self._answering.likelihoods(asked, quiet=quiet)
        are_greedy = self._answering.are_greedy(asked, quiet=quiet) if greedy else [False] * len(asked)
        found = iter([(answer["logprob"], is_it) for answer, is_it in zip(answers, are_greedy, strict=True)])
        return [next(found) if answer else (0.0, True) for _, _, answer in pairs]

    def _token_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Token ids of both. A continuation that merges into the context's last token is encoded by itself."""
        if context:
            context_ids, continuation_ids = self._encode_pair(context, continuation)
            if continuation_ids or not continuation:
                return context_ids, continuation_ids
        return self.tok_encode(context), self.tok_encode(continuation)


def check_device(name: str, *, cpu_fallback: bool) -> str:
    """The name of a device that is there; without a GPU the CPU where cpu_fallback allows it.

    Raises UserError, in lm-eval's words, for a GPU that is not there.
    """
    if name.partition(":")[0] != "cuda" or torch.cuda.is_available():
        return str(resolve_device(name))
    if cpu_fallback:
        log.warning("Device '%s' is not there; the CPU is used.", name)
        return "cpu"
    raise UserError(
        f"Device '{name}' is not there: torch sees no GPU. Give --device cpu or auto, or cpu_fallback=true in "
        "--model_args."
    )


def _with_repeats(requests: Sequence[Instance]) -> Iterator[tuple[Instance, int]]:
    """Every request with the number of times that it stood before; the copies that lm-eval adds to give all processes
    the same number of requests count as the last repeat."""
    seen: Counter[int] = Counter()
    for request in requests:
        yield request, min(seen[id(request)], (request.repeats or len(requests)) - 1)
        seen[id(request)] += 1


def windows(ids: Sequence[int], max_length: int) -> list[tuple[Sequence[int], Sequence[int]]]:
    """(context, answer) pairs whose answers make up the text."""
    if len(ids) <= max_length:
        return [([], ids)]
    half = max(1, max_length // 2)
    return [(ids[max(0, start - half) : start], ids[start : start + half]) for start in range(0, len(ids), half)]


def _check_prompt_style(request: Instance, loaded: LoadedModel) -> None:
    """The embedded models understand compact prompts alone; the task cannot see an object's model."""
    doc = request.doc if isinstance(request.doc, dict) else {}
    is_ours = (request.task_name or "").startswith(options.TASK_PREFIX)
    if is_ours and loaded.model.compact_prompts and doc.get("prompts") == CHAT:
        raise UserError(
            f"Task '{request.task_name}' gives chat prompts, embedded models know compact ones; add prompts=compact to "
            "--metadata (or to the TaskManager's metadata)."
        )


register(DiffusionEvalLM)
