#!/bin/bash
# One share of a run: a task of a Slurm array, which does all of it.
#
#     job=$(sbatch --parsable --array=1-8 share.sh embed my-cells -o embeddings --model gf-12L-95M-i4096)
#     sbatch --dependency=afterok:"${job%;*}" merge.sh embeddings -o embeddings.h5ad
#
# The words behind share.sh are a command of rankformer with a folder as its output. A task that was killed
# or requeued goes on where it stopped, and so does the whole array when it is submitted again.
# With a GPU a task, add the line: #SBATCH --gres=gpu:1
#SBATCH --job-name=rankformer-share
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=rankformer-share-%A-%a.txt
set -euo pipefail
# Slurm counts the tasks that were submitted: to try two of eight again, say SHARES=8 sbatch --array=3,5 …
shares=${SHARES:-$SLURM_ARRAY_TASK_COUNT}
exec rankformer --offline "$@" --shard "$SLURM_ARRAY_TASK_ID/$shares" --threads "$SLURM_CPUS_PER_TASK"
