#!/bin/sh
# On a machine with a GPU and its torch: build the op in place with CMake alone, run every test marked
# gpu, measure. Needs python (PYTHON=...) with torch, pytest, pybind11 and, for the tests of training,
# what ddetr-train requires; cmake, ninja, nvcc. DDETR_PEERS may name a folder with other projects'
# operators, which are compiled and timed beside ours: see benchmarks/bench_cuda_peers.py.
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

for sources in packages/*/src; do
    PYTHONPATH="$PWD/$sources${PYTHONPATH:+:$PYTHONPATH}"
done
export PYTHONPATH
"$python" -m ddetr_ops
status=0
for tests in $(grep -rl --include='test_*.py' 'mark\.gpu' packages tests); do
    # Not the repository's options: the machine may lack the plugins that these name.
    "$python" -m pytest -q -o addopts=--import-mode=importlib -m gpu "$tests" || status=1
done
for dtype in float32 float16 bfloat16; do
    "$python" benchmarks/bench_ops.py --device cuda --threads 1 --batches 4 --repeats 20 --dtype "$dtype" \
        ${OUT:+--output "$OUT/ops_cuda_$dtype.json"}
done
"$python" benchmarks/bench_cuda_peers.py ${OUT:+--output "$OUT/ops_cuda_peers.json"} || status=1
exit $status
