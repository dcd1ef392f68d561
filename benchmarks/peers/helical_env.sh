#!/usr/bin/env bash
# Make the environment in which Helical runs beside ours: helical_env.sh FOLDER [PYTHON]
set -euo pipefail
folder=${1:?usage: helical_env.sh FOLDER [PYTHON]}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

"${2:-python3.11}" -m venv "$folder"
"$folder/bin/python" -m pip install --constraint "$here/helical_constraints.txt" \
    torch datasets transformers anndata scanpy pybiomart requests-cache
# Helical asks for torch 2.7.0 and for packages that its Geneformer never imports.
"$folder/bin/python" -m pip install --no-deps helical==2.2.0
"$folder/bin/python" -c "import helical.models.geneformer"
