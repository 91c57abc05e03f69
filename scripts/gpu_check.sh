#!/bin/sh
# On a machine with a GPU and its torch: build the op in place with CMake alone, run every test marked
# gpu, measure. Needs python (PYTHON=...) with torch, pytest, hypothesis, pybind11; cmake, ninja, nvcc.
# Tests of packages whose requirements are missing are left out, and that is said. DDETR_PEERS may
# name a folder with other projects' operators, which are compiled and timed beside ours: see
# benchmarks/bench_cuda_peers.py. A step that fails does not stop the next; the exit status tells.
set -eu
cd "$(dirname "$0")/.."
python=$(command -v "${PYTHON:-python3}")
package=packages/ddetr-ops
architectures=${DDETR_OPS_CUDA_ARCHITECTURES:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d '. ' | sort -u | paste -sd ';' -)}
status=0

step() {
    echo "== $*"
    "$@" || { status=1; echo "== FAILED: $*"; }
}

# pytest's exit status 4: a package's conftest cannot be imported.
run_tests() {
    # Not the repository's options: the machine may lack the plugins that these name.
    "$python" -m pytest -q -rs -o addopts=--import-mode=importlib -m gpu "$1" && return
    found=$?
    case $found:$1 in
    4:$package/*) return 4 ;;
    4:*) echo "left out: what $1 needs is not installed here" ;;
    *) return $found ;;
    esac
}

cmake -S "$package" -B build/gpu-check -G Ninja \
    -DDDETR_OPS_OUTPUT="$PWD/$package/src/ddetr_ops" \
    -DPython_EXECUTABLE="$python" \
    -DDDETR_OPS_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$architectures"
cmake --build build/gpu-check

for sources in packages/*/src; do
    PYTHONPATH="$PWD/$sources${PYTHONPATH:+:$PYTHONPATH}"
done
export PYTHONPATH
step "$python" -m ddetr_ops
# Without a GPU every test would be skipped and look fine.
"$python" -c 'import sys, ddetr_ops; sys.exit(ddetr_ops.doctor(self_test=False).problems["cuda"] or 0)'
for tests in $(grep -rl --include='test_*.py' 'mark\.gpu' packages tests); do
    step run_tests "$tests"
done
step "$python" benchmarks/bench_cuda_peers.py ${OUT:+--output "$OUT/ops_cuda_peers.json"}
for dtype in float32 float16 bfloat16; do
    step "$python" benchmarks/bench_ops.py --device cuda --threads 1 --batches 4 --repeats 20 \
        --dtype "$dtype" ${OUT:+--output "$OUT/ops_cuda_$dtype.json"}
done
exit $status
