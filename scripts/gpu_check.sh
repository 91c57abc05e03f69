#!/bin/sh
# On a machine with a GPU and its torch: build the op in place with CMake alone, run the tests marked
# gpu, measure. Needs python (PYTHON=...) with torch, pytest, hypothesis, pybind11; cmake, ninja, nvcc.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
package=packages/ddetr-ops
architectures=${DDETR_OPS_CUDA_ARCHITECTURES:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d '. ' | sort -u | paste -sd ';' -)}

cmake -S "$package" -B build/gpu-check -G Ninja \
    -DDDETR_OPS_OUTPUT="$PWD/$package/src/ddetr_ops" \
    -DPython_EXECUTABLE="$(command -v "$python")" \
    -DDDETR_OPS_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$architectures"
cmake --build build/gpu-check

export PYTHONPATH="$PWD/$package/src${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m ddetr_ops
"$python" -m pytest -q -m gpu "$package/tests"
for dtype in float32 float16 bfloat16; do
    "$python" benchmarks/bench_ops.py --device cuda --threads 1 --batches 4 --repeats 20 --dtype "$dtype"
done
