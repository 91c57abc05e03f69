"""The stand-in for TensorRT has what the bindings of each version have, and no more."""

from __future__ import annotations

import inspect

import pytest

VERSIONS = ["8.6.1", "10.0.1", "10.16.1", "11.0.0", "11.4.0"]


def test_each_described_version_is_known(fakes) -> None:
    """And a version between two of them is the older one."""
    assert {path.stem for path in fakes.API.glob("*.json")} == set(VERSIONS)
    assert [fakes.api_of(each)["version"] for each in ("10.9.0", "10.16.2", "11.1.0")] == [
        "10.0.1",
        "10.16.1.11",
        "11.0.0.114",
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_has_no_method_that_tensorrt_lacks(fakes, version) -> None:
    """The classes that compute take as many arguments as an overload of the real ones."""
    for name, fake in (("ICudaEngine", fakes.Engine), ("IExecutionContext", fakes.Context)):
        real = fakes.api_of(version)["classes"][name]
        methods = {k: v for k, v in vars(fake).items() if not k.startswith("_")}
        assert methods.keys() <= real["methods"].keys()
        for method, function in methods.items():
            _, *taken = inspect.signature(function).parameters
            overloads = [fakes.signature_of(o) for o in real["methods"][method]["overloads"]]
            assert any(fakes.fits(each, taken, {}) for each in overloads), method


@pytest.mark.parametrize(
    ("version", "absent"),
    [
        ("8.6.1", lambda trt: trt.BuilderFlag.BF16),
        ("8.6.1", lambda trt: trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
        ("10.0.1", lambda trt: trt.Builder.return_value.max_workspace_size),
        ("11.0.0", lambda trt: trt.BuilderFlag.FP16),
        ("11.0.0", lambda trt: trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH),
        ("11.0.0", lambda trt: trt.layers[0].precision),
        ("11.0.0", lambda trt: setattr(trt.layers[0], "precision", 0)),
        ("11.0.0", lambda trt: trt.IInt8EntropyCalibrator2),
    ],
)
def test_what_a_version_lacks_the_stand_in_lacks(fakes, version, absent) -> None:
    """As TensorRT itself, it raises AttributeError."""
    with pytest.raises(AttributeError):
        absent(fakes.make_tensorrt(version))


def test_a_call_that_fits_no_overload_is_refused(fakes) -> None:
    """Too few arguments, too many, and a keyword that is not there."""
    trt = fakes.make_tensorrt("10.16.1")
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    builder.create_network()
    builder.create_network(flags=1)
    for call in (trt.Builder, lambda: builder.create_network(1, 2)):
        with pytest.raises(TypeError, match="takes no such arguments"):
            call()
    with pytest.raises(TypeError, match="takes no such arguments"):
        builder.create_network(flag=1)
