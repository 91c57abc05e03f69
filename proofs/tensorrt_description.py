"""Describe the TensorRT bindings of the environment that runs this, as JSON on standard output.

    python tensorrt_description.py '["names", "to", "look", "for"]'

Names and parameters alone are kept, of the classes below, and those that are looked for.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

CLASSES = (
    *("Builder", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILayer"),
    *("INetworkDefinition", "IOptimizationProfile", "ITensor", "ITimingCache", "Logger"),
    *("OnnxParser", "ParserError", "Runtime"),
)
ENUMS = (
    *("BuilderFlag", "DataType", "LayerType", "MemoryPoolType"),
    *("NetworkDefinitionCreationFlag", "TensorIOMode"),
)
FUNCTIONS = ("init_libnvinfer_plugins", "nptype")
_SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> (.*)$", re.MULTILINE)


def described(trt: Any, wanted: set[str]) -> dict[str, Any]:
    """Give what is looked for of the module."""
    return {
        "version": trt.__version__,
        "functions": {name: function_of(getattr(trt, name)) for name in FUNCTIONS},
        "classes": {name: class_of(getattr(trt, name), wanted) for name in CLASSES},
        "enums": {
            name: {
                member: int(value)
                for member, value in getattr(trt, name).__members__.items()
                if member in wanted
            }
            for name in ENUMS
        },
    }


def class_of(owner: Any, wanted: set[str]) -> dict[str, Any]:
    """Methods with their overloads, and properties with whether they can be set."""
    methods, properties = {}, {}
    for name in sorted(wanted | {"__init__"}):
        attribute = getattr(owner, name, None)
        if isinstance(attribute, property):
            properties[name] = "set" if attribute.fset else "read"
        elif callable(attribute):
            methods[name] = function_of(attribute)
        elif attribute is not None:
            properties[name] = "constant"
    return {"methods": methods, "properties": properties}


def function_of(function: Any) -> dict[str, Any]:
    """Parameters of each overload, and the class that it returns."""
    code = getattr(function, "__code__", None)
    if code is not None:  # written in Python
        return {"overloads": [list(code.co_varnames[: code.co_argcount])], "returns": ""}
    found = _SIGNATURE.findall(function.__doc__ or "")
    overloads = [list(parameters(text)) for name, text, _ in found if text != "*args, **kwargs"]
    returned = {_class_named(given) for _, _, given in found} & set(CLASSES)
    return {"overloads": overloads, "returns": min(returned, default="")}


def _class_named(returned: str) -> str:
    """Take the class's own name; of one that Python code has not named, C++'s."""
    return re.sub(r".*[.:]", "", returned.replace("nvonnxparser::IParserError", "ParserError"))


def parameters(text: str) -> Iterator[str]:
    """Yield the names in a signature but self, with "=" behind one that has a default."""
    for part in re.split(r", (?=\w+: )", text):
        name, _, rest = part.partition(": ")
        if name != "self" and name:
            yield f"{name}=" if " = " in rest else name


if __name__ == "__main__":
    import tensorrt_bindings

    found = described(tensorrt_bindings, set(json.loads(sys.argv[1])))
    sys.stdout.write(json.dumps(found))
