"""adapter_config.json as peft writes it. Every field of peft's LoraConfig is followed, has no effect, or is refused.

A field that is neither read nor in the lists below, as one of a later peft, is refused where it is set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.models.config_fields import Fields
from harness.models.files import is_set, read_json, shown
from harness.models.untrusted import UntrustedError, matching

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
    fields = Fields(read_json(path), path)
    if fields.get("peft_type") != "LORA":
        raise fields.wrong("peft_type", "but only 'LORA' is supported")
    if fields.get("bias", "none") != "none":
        raise fields.wrong("bias", f"but only 'none' is supported; {MERGE}")
    _check_initialisation(fields)
    config = AdapterConfig(
        path=path,
        rank=fields.size("r", default=8),
        alpha=fields.number_from_0("lora_alpha", default=8),
        dropout=fields.number_from_0("lora_dropout", default=0, most=1),
        rank_stabilised=fields.flag("use_rslora"),
        trained_on=str(fields.get("base_model_name_or_path") or ""),
        target_modules=_layers(fields, "target_modules"),
        exclude_modules=_layers(fields, "exclude_modules") if is_set(fields.get("exclude_modules")) else [],
    )
    fields.refuse_others(WITHOUT_EFFECT, fix=MERGE)
    return config


def _check_initialisation(fields: Fields) -> None:
    """PiSSA, OLoRA, CorDA and LoftQ take something off the weights below the adapter, which no file of it holds."""
    value = fields.get("init_lora_weights")
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value.lower() == "gaussian"):
        return
    raise fields.wrong(
        "init_lora_weights",
        "which may change the weights below the adapter; only true, false and 'gaussian' are supported: save it again "
        "with peft's save_pretrained(path_initial_model_for_weight_conversion=...), which makes it plain LoRA, or "
        "merge it",
    )


def _layers(fields: Fields, key: str) -> list[str] | str:
    value = fields.get(key)
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        return value
    raise fields.wrong(key, "where a list of layers or a pattern of their names is needed")
