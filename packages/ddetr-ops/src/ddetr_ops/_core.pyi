"""Kernels on raw memory: arrays are (address, dtype, sizes), contiguous."""

from collections.abc import Sequence

from torch import Tensor, nn

_Array = tuple[int, str, tuple[int, ...]]

def forward(
    value: _Array,
    spatial_shapes: Sequence[tuple[int, int]],
    level_start_index: Sequence[int],
    sampling_locations: _Array,
    attention_weights: _Array,
    output: _Array,
    threads: int,
    /,
) -> None: ...
def read_tensors_of(tensor_class: type[Tensor], parameter_class: type[nn.Parameter], /) -> bool: ...
def forward_tensors(*tensors_and_threads: object) -> Tensor | None: ...
def backward_tensors(*tensors_and_threads: object) -> tuple[Tensor, Tensor, Tensor] | None: ...
def backward(
    grad_output: _Array,
    value: _Array,
    spatial_shapes: Sequence[tuple[int, int]],
    level_start_index: Sequence[int],
    sampling_locations: _Array,
    attention_weights: _Array,
    grad_value: _Array,
    grad_sampling_locations: _Array,
    grad_attention_weights: _Array,
    threads: int,
    /,
) -> None: ...
def points(
    reference_points: _Array,
    sampling_offsets: _Array,
    attention_logits: _Array,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: _Array,
    attention_weights: _Array,
    threads: int,
    /,
) -> None: ...
def points_backward(
    grad_sampling_locations: _Array,
    grad_attention_weights: _Array,
    reference_points: _Array,
    sampling_offsets: _Array,
    attention_weights: _Array,
    spatial_shapes: Sequence[tuple[int, int]],
    grad_reference_points: _Array,
    grad_sampling_offsets: _Array,
    grad_attention_logits: _Array,
    threads: int,
    /,
) -> None: ...
def instruction_set() -> str: ...
def use_instruction_set(name: str, /) -> bool: ...
def has_threads() -> bool: ...
def forward_cuda(
    value: _Array,
    spatial_shapes: int,
    level_start_index: int,
    sampling_locations: _Array,
    attention_weights: _Array,
    output: _Array,
    device: int,
    stream: int,
    tiles: bool,
    /,
) -> None: ...
def backward_cuda(
    grad_output: _Array,
    value: _Array,
    spatial_shapes: int,
    level_start_index: int,
    sampling_locations: _Array,
    attention_weights: _Array,
    grad_value: _Array,
    grad_sampling_locations: _Array,
    grad_attention_weights: _Array,
    device: int,
    stream: int,
    tiles: bool,
    deterministic: bool,
    /,
) -> None: ...
def cuda_problem() -> str: ...
def cuda_versions() -> tuple[int, int, int]: ...
