#!/bin/bash
# The shards of a run joined to one file, after all tasks of its array: see share.sh.
#
# With --dependency=afterok it waits for ever where a task failed, or could not read one of its files. Say
# `scancel` then, look at what the task wrote, and submit both again; or merge what there is: --partial.
#SBATCH --job-name=rankformer-merge
#SBATCH --mem=16G
#SBATCH --time=02:00:00
#SBATCH --output=rankformer-merge-%j.txt
set -euo pipefail
exec rankformer --offline merge "$@"
