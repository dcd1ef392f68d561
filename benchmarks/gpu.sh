#!/usr/bin/env bash
# All that a short visit to a GPU is for, in less than eight minutes: facts of the machine, the GPU
# tests, the encoder of four published shapes, a training step, the way from a file to embeddings,
# perturbation, and a trial of FP8. Each step writes a JSON file to the folder, and is left out where
# that is there, so that a run that was stopped goes on.
#
#     benchmarks/gpu.sh FOLDER                  on a GPU
#     benchmarks/gpu.sh --tiny FOLDER           on a CPU, with tiny sizes: does the script work?
#
# It needs bash, coreutils' timeout, and a Python with rankformer and pytest; PYTHON names another
# one than "python". fa3-fwd is used where it is installed.
set -euo pipefail

tiny=()
patience=1
if [ "${1-}" = "--tiny" ]; then
    tiny=(--tiny)
    patience=5
    shift
    # Without a GPU, the fused kernels run in Triton's interpreter.
    export TRITON_INTERPRET=1
fi
folder=${1:?"usage: benchmarks/gpu.sh [--tiny] FOLDER"}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}
mkdir -p "$folder"

run() { # step, most seconds
    if [ -e "$folder/$1.json" ]; then
        echo "$1: is there"
        return
    fi
    echo "$1 …"
    local began=$SECONDS limit=$((patience * $2))
    if timeout --kill-after=5 "$limit" "$python" "$here/gpu.py" "$1" "${tiny[@]}" --folder "$folder" \
        >"$folder/$1.log" 2>&1; then
        echo "$1: $((SECONDS - began)) s"
    else
        echo "$1: status $? after $((SECONDS - began)) s (124: its time of $limit s was over); $folder/$1.log:"
        tail -n 5 "$folder/$1.log"
    fi
}

run facts 20
run tests 110
run encoder 130
run training 50
run pipeline 95
run perturbation 35
run fp8 30
"$python" "$here/gpu.py" show --folder "$folder"
