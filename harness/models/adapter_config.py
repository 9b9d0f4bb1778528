"""adapter_config.json as peft writes it. Every field of peft's LoraConfig is followed, has no effect, or is refused.

A field that is in none of the lists below, as one of a later peft, is refused where it is set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models.files import is_set, read_json, shown
from harness.models.untrusted import UntrustedError, matching

FOLLOWED = frozenset(
    {
        "base_model_name_or_path",
        "bias",
        "exclude_modules",
        "init_lora_weights",
        "lora_alpha",
        "lora_dropout",
        "peft_type",
        "r",
        "target_modules",
        "use_rslora",
    }
)
ABOUT_THE_FILE = frozenset(
    {"auto_mapping", "inference_mode", "peft_version", "revision", "runtime_config", "task_type"}
)
# peft sets fan_in_fan_out to false where a layer is an nn.Linear, as all are here, and reads the others beside a field
# or a value that is refused.
WITHOUT_EFFECT = ABOUT_THE_FILE | {
    "corda_config",
    "eva_config",
    "fan_in_fan_out",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "qalora_group_size",
}
ALL_LINEAR = "all-linear"
LARGEST_NUMBER = 1 << 24
MERGE = "merge the adapter into its model with peft (merge_and_unload) and name the merged model"


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What an adapter's configuration says; names of layers are those of the checkpoint's own code.

    target_modules: ends of the adapted layers' names, or a pattern of whole names; exclude_modules: of layers left out.
    """

    path: Path
    rank: int
    alpha: float
    dropout: float
    rank_stabilised: bool
    trained_on: str
    target_modules: list[str] | str
    exclude_modules: list[str] | str

    @property
    def lists_layers(self) -> bool:
        """Whether the adapted layers are listed one by one, and not described by a pattern."""
        return isinstance(self.target_modules, list)

    def targeted(self, layers: Iterable[str], *, head: str) -> frozenset[str]:
        """The layers that peft puts adapters on. head: the output layer, which `all-linear` leaves out.

        Raises UserError for a pattern that is no regular expression or takes too long to match.
        """
        names = list(layers)
        if isinstance(self.target_modules, str) and self.target_modules.lower() == ALL_LINEAR:
            chosen = frozenset(names) - {head}
        else:
            chosen = self._matching("target_modules", self.target_modules, names)
        return chosen - self._matching("exclude_modules", self.exclude_modules, names)

    def _matching(self, key: str, wanted: list[str] | str, names: list[str]) -> frozenset[str]:
        if isinstance(wanted, list):
            return frozenset(name for name in names if any(f".{name}".endswith(f".{end}") for end in wanted))
        try:
            return frozenset(matching(wanted, names) if wanted else ())
        except UntrustedError as error:
            raise UserError(f"'{self.path}' has {key}={shown(wanted)}, which cannot be matched: {error}.") from error


def read_adapter_config(path: Path) -> AdapterConfig:
    """Reads and checks an adapter_config.json; where a field is missing, it has peft's default.

    Raises UserError where the file is damaged, or is of anything but plain LoRA.
    """
    raw = read_json(path)
    if raw.get("peft_type") != "LORA":
        raise UserError(f"'{path}' has peft_type={shown(raw.get('peft_type'))}, but only 'LORA' is supported.")
    if raw.get("bias", "none") != "none":
        raise UserError(f"'{path}' has bias={shown(raw['bias'])}, but only 'none' is supported; {MERGE}.")
    _check_initialisation(raw.get("init_lora_weights"), path)
    for key in sorted(raw.keys() - FOLLOWED - WITHOUT_EFFECT):
        if is_set(raw[key]):
            raise UserError(f"'{path}' has {key}={shown(raw[key])}, which is not supported; {MERGE}.")
    rank = _number(raw, "r", path, default=8, most=LARGEST_NUMBER)
    if rank != int(rank) or rank < 1:
        raise UserError(f"'{path}' has r={rank}, where a whole number above 0 is needed.")
    rank_stabilised = raw.get("use_rslora", False)
    if not isinstance(rank_stabilised, bool):
        raise UserError(f"'{path}' has use_rslora={shown(rank_stabilised)}, where true or false is needed.")
    return AdapterConfig(
        path=path,
        rank=int(rank),
        alpha=_number(raw, "lora_alpha", path, default=8, most=LARGEST_NUMBER),
        dropout=_number(raw, "lora_dropout", path, default=0, most=1),
        rank_stabilised=rank_stabilised,
        trained_on=str(raw.get("base_model_name_or_path") or ""),
        target_modules=_layers(raw, "target_modules", path),
        exclude_modules=_layers(raw, "exclude_modules", path) if is_set(raw.get("exclude_modules")) else [],
    )


def _check_initialisation(value: object, path: Path) -> None:
    """PiSSA, OLoRA, CorDA and LoftQ take something off the weights below the adapter, which no file of it holds."""
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value.lower() == "gaussian"):
        return
    raise UserError(
        f"'{path}' has init_lora_weights={shown(value)}, which may change the weights below the adapter; only true, "
        "false and 'gaussian' are supported: save it again with peft's "
        "save_pretrained(path_initial_model_for_weight_conversion=...), which makes it plain LoRA, or merge it."
    )


def _number(raw: Mapping[str, Any], key: str, path: Path, *, default: int, most: int) -> float:
    value = raw.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise UserError(f"'{path}' has {key}={shown(value)}, where a number from 0 to {most} is needed.")
    return value


def _layers(raw: Mapping[str, Any], key: str, path: Path) -> list[str] | str:
    value = raw.get(key)
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        return value
    raise UserError(f"'{path}' has {key}={shown(value)}, where a list of layers or a pattern of their names is needed.")
