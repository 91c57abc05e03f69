"""Where each row of TAO's tables was read: repository, tag or commit, and file."""

from __future__ import annotations

from dataclasses import dataclass

_PYTORCH, _DEPLOY, _CORE = "NVIDIA/tao_pytorch_backend", "NVIDIA/tao_deploy", "NVIDIA/tao-core"
_TENSORFLOW, _TUTORIALS = "NVIDIA/tao_tensorflow1_backend", "NVIDIA/tao_tutorials"
_LAUNCHER, _DOCS = "NVIDIA/tao_launcher", "docs.nvidia.com/tao"
_CONFIG = "nvidia_tao_pytorch/cv/deformable_detr/config"
_CORE_CONFIG = "nvidia_tao_core/config/deformable_detr"
_HYDRA = "nvidia_tao_deploy/cv/common/entrypoint/entrypoint_hydra.py"


@dataclass(frozen=True)
class Source:
    """A file of a public repository, or a page, at one version of it."""

    repository: str
    version: str  # a tag, a commit, or the page's own version
    file: str


SOURCES: dict[str, Source] = {
    "page 4": Source(_DOCS, "4.0.1", "tao_deploy/deformable_detr"),
    "page 3": Source(_DOCS, "30.2205", "object_detection/deformable_detr"),
    "page 5.5": Source(_DOCS, "5.5.0", "cv_finetuning/pytorch/object_detection/deformable_detr"),
    "page 7": Source(_DOCS, "7.0.1", "cv_finetuning/pytorch/object_detection/deformable_detr"),
    "tensorflow": Source(
        _TENSORFLOW, "d700902", "nvidia_tao_tf1/cv/common/entrypoint/entrypoint.py"
    ),
    "launcher": Source(
        _LAUNCHER, "ec6d1ea", "nvidia_tao_cli/entrypoint, nvidia_tao_cli/components"
    ),
    "5.0": Source(
        _PYTORCH, "v5.0.0", "nvidia_tao_pytorch/cv/deformable_detr/entrypoint/deformable_detr.py"
    ),
    "5.0 keys": Source(_PYTORCH, "v5.0.0", f"{_CONFIG}/default_config.py"),
    "5.2 keys": Source(_PYTORCH, "v5.2.0", f"{_CONFIG}/default_config.py"),
    "5.3": Source(_PYTORCH, "9c2d94c", "nvidia_tao_pytorch/core/entrypoint.py"),
    "5.5": Source(_PYTORCH, "2fdd6b3", "nvidia_tao_pytorch/core/entrypoint.py"),
    "5.5 keys": Source(_PYTORCH, "2fdd6b3", _CONFIG),
    "deploy 5": Source(_DEPLOY, "v5.2.0", _HYDRA),
    "deploy 5.5": Source(_DEPLOY, "21c66f2", _HYDRA),
    "deploy 6": Source(_DEPLOY, "2a988a0", _HYDRA),
    "deploy 6 any": Source(
        _DEPLOY, "2a988a0", "nvidia_tao_deploy/cv/common/entrypoint/entrypoint_agnostic.py"
    ),
    "deploy proto": Source(
        _DEPLOY, "v5.2.0", "nvidia_tao_deploy/cv/common/entrypoint/entrypoint_proto.py"
    ),
    "6.25.10": Source(_PYTORCH, "3a8a971", "nvidia_tao_pytorch/cv/*/scripts"),
    "6.25.9 keys": Source(_CORE, "5fee3ca", _CORE_CONFIG),
    "6.25.11 keys": Source(_CORE, "4c23eb6", _CORE_CONFIG),
    "6.26.3 keys": Source(_CORE, "56c206f", _CORE_CONFIG),
    "notebook 5.1": Source(
        _TUTORIALS, "v5.1.0", "notebooks/tao_launcher_starter_kit/deformable_detr"
    ),
    "notebook 7.0": Source(
        _TUTORIALS, "799682c", "notebooks/tao_launcher_starter_kit/deformable_detr"
    ),
}

NOT_COVERED = (
    "the code of 4.x, which is not public: of 4.0.1 the page of TAO Deploy was read, its page of "
    "training was not",
    "the code of 7.0.0 and 7.0.1: of 7.0.0 the notebook was read, of 7.0.1 the list of subtasks on "
    "its page; `model.precise_msda` is known by its name alone",
    "options that only reach another network's subtasks",
    "TAO's API, its client and AutoML",
)
