"""The extra [torch]: what it brings, and the sentence that asks for it."""

from __future__ import annotations

from ddetr_data import InstallHint, MissingExtraError

_BRINGS = {
    "ddetr_model": "ddetr-model",
    "google": "protobuf",
    "onnx": "ONNX",
    "onnxscript": "ONNX Script",
    "torch": "PyTorch",
}


def missing_extra(name: str, error: ModuleNotFoundError) -> MissingExtraError:
    """Give the error that asks for what a name of this package needs.

    Args:
        name: The name.
        error: What its import has raised.

    Raises:
        ModuleNotFoundError: the same, of a library that the extra does not bring.
    """
    library = _BRINGS.get((error.name or "").partition(".")[0])
    if library is None:
        raise error
    need = f"{name} needs {library}, which is not installed"
    return MissingExtraError(need, InstallHint("torch", "ddetr-export"))
