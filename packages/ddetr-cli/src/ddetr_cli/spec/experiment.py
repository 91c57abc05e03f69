"""The experiment: every block of a spec joined, read, checked and written again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ddetr_cli.masking import masked, without_passwords
from ddetr_cli.passphrase import KEY_VARIABLE
from ddetr_cli.spec._errors import sentences, unknown_key
from ddetr_cli.spec._model_block import ModelBlock
from ddetr_cli.spec._passes import read_through
from ddetr_cli.spec._secrets import secrets_in
from ddetr_cli.spec._usable_values import refuse_huge_numbers
from ddetr_cli.spec.schema import DERIVED_KEYS
from ddetr_cli.spec.tree import SpecError, SpecTree, with_texts
from ddetr_cli.spec.yaml_tree import read_spec_file
from ddetr_data import ConvertConfig, DatasetConfig
from ddetr_data.detection import EvaluateConfig, InferenceConfig
from ddetr_export import ExportConfig, TrtEngineConfig
from ddetr_train import TrainConfig

Spec = TypeVar("Spec", bound=BaseModel)
_OF_ENGINES = ("evaluate", "inference")


class Experiment(BaseModel):
    """Everything that a spec file says, with the defaults of what it leaves out."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: ModelBlock = Field(ModelBlock(), description="The network.")
    dataset: DatasetConfig = Field(DatasetConfig(), description="The data.")
    train: TrainConfig = Field(TrainConfig(), validate_default=True, description="Training.")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="Scoring.")
    inference: InferenceConfig = Field(InferenceConfig(), description="Labelling and drawing.")
    export: ExportConfig = Field(ExportConfig(), description="The ONNX file.")
    gen_trt_engine: TrtEngineConfig = Field(TrtEngineConfig(), description="The TensorRT engine.")
    results_dir: str = Field("/results", min_length=1, description="Folder of all results.")
    encryption_key: SecretStr | None = Field(
        None, description=f"Passphrase of written and read files; also from {KEY_VARIABLE}."
    )

    @model_validator(mode="before")
    @classmethod
    def _give_the_model_its_classes(cls, blocks: Any) -> Any:
        if not isinstance(blocks, Mapping):
            return blocks
        model, dataset = blocks.get("model", {}), blocks.get("dataset", {})
        if not (isinstance(model, Mapping) and isinstance(dataset, Mapping)):
            return blocks
        num_classes = dataset.get("num_classes", "auto")
        if num_classes == "auto":
            return blocks
        return {**blocks, "model": {**model, "num_classes": num_classes}}

    @field_validator("train")
    @classmethod
    def _complete_training(cls, train: TrainConfig, info: ValidationInfo) -> TrainConfig:
        model: ModelBlock | None = info.data.get("model")  # None where it is faulty
        return train if model is None else model.completed(train)

    @model_validator(mode="after")
    def _say_how_many_detections_count(self) -> Experiment:
        limit = {"max_detections": self.evaluate.max_detections}
        blocks: dict[str, BaseModel] = {"train": self.train, "export": self.export}
        # Not by assignment, which a frozen model refuses.
        self.__dict__ |= {name: block.model_copy(update=limit) for name, block in blocks.items()}
        return self

    @property
    def passphrase(self) -> str | None:
        """The encryption key in clear, for the engine alone."""
        return self.encryption_key.get_secret_value() if self.encryption_key else None

    def results_of(self, task: str, *, is_engine: bool = False) -> Path:
        """Folder of a subtask: <task>.results_dir, else <results_dir>/<task>.

        An engine has its own, <results_dir>/trt_<task>, beside that of the checkpoint; is_engine
        says that it counts as one whatever the spec names.
        """
        block = getattr(self, task)
        if block.results_dir:
            return Path(block.results_dir)
        is_engine = is_engine or (task in _OF_ENGINES and block.trt_engine is not None)
        return Path(self.results_dir) / (f"trt_{task}" if is_engine else task)


@dataclass(frozen=True)
class LoadedSpec(Generic[Spec]):
    """A checked spec, and what its reader should know about it."""

    spec: Spec
    notices: tuple[str, ...]


def load_spec(
    model: type[Spec], path: Path, overrides: Sequence[str] = (), task: str | None = None
) -> LoadedSpec[Spec]:
    """Read a spec file, lay the overrides over it and check the whole.

    Args:
        model: Experiment, or the model of a spec of its own.
        path: the YAML file.
        overrides: `key.sub=value` each.
        task: the subtask that it is read for; None and train are the strictest.

    Raises:
        FileNotFoundError: there is no such file.
        SpecError: a key, a value or an override is wrong; every fault has its own sentence.
    """
    return load_tree(model, read_spec_file(path), overrides, task)


def load_tree(
    model: type[Spec], tree: SpecTree, overrides: Sequence[str] = (), task: str | None = None
) -> LoadedSpec[Spec]:
    """Do as load_spec with a file that was read already; the tree takes the overrides.

    Raises:
        SpecError: as load_spec.
    """
    try:
        notices = read_through(tree, model, task, overrides, is_flat=model is not Experiment)
        return LoadedSpec(_validated(model, tree), tuple(notices))
    except SpecError as error:
        raise SpecError(masked(str(error), secrets_in(tree, model))) from None


def model_of(tree: SpecTree) -> type[ConvertConfig | Experiment]:
    """Tell the flat spec of `convert` from the blocks of every other subtask."""
    blocks, flat = (
        sum(key in model.model_fields for key in tree.values)
        for model in (Experiment, ConvertConfig)
    )
    return ConvertConfig if flat > blocks else Experiment


def spec_yaml(spec: BaseModel) -> str:
    """Write a spec as YAML that loads again to an equal one, except that secrets are masked."""
    # A "${" that is part of a name would be taken for a reference when it is loaded.
    values = with_texts(
        spec.model_dump(mode="json"), lambda text: without_passwords(text).replace("${", "\\${")
    )
    for *blocks, key in DERIVED_KEYS if isinstance(spec, Experiment) else ():
        del reduce(getitem, blocks, values)[key]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _validated(model: type[Spec], tree: SpecTree) -> Spec:
    derived = [path for path in DERIVED_KEYS if path in tree.origins]
    faults = [unknown_key(path, tree, model) for path in derived]
    try:
        spec = model.model_validate(tree.values)
    except ValidationError as error:
        faults += sentences(error, tree, model)
    if faults:
        raise SpecError("\n".join(faults))
    refuse_huge_numbers(spec, tree)
    return spec
