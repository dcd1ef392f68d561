"""Make an archive of what this version writes: ``python -m tests.archives VERSION``.

Run it when a version is released and commit the folder: tests/archives/test_archives.py reads all.
"""

import logging
import os
import shutil
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from tests.conftest import save_small_checkpoint, small_vocabulary

from rankformer.cli import main

HERE = Path(__file__).parent
CPU = "--device cpu --dtype float32"
TRAINING = "--device cpu --max-steps 8 --batch-size 8 --log-steps 1"


def write_cells() -> None:
    """40 cells of two kinds and four donors."""
    vocabulary, rng = small_vocabulary(n_genes=60), np.random.default_rng(0)
    kind = np.repeat(["T", "B"], 20)
    rates = rng.gamma(0.6, 2.0, (2, 60))[(kind == "B").astype(int)]
    obs = pd.DataFrame({
        "kind": kind, "donor": [f"D{1 + cell % 4}" for cell in range(40)],
        "age": rng.integers(20, 80, 40).astype(float),
    }, index=[f"cell{cell}" for cell in range(40)])  # fmt: skip
    counts = csr_matrix(rng.poisson(rates + 0.2).astype(np.float32))
    var = pd.DataFrame(index=list(vocabulary.ensembl_ids))
    ad.AnnData(counts, obs, var).write_h5ad("cells.h5ad", compression="gzip")
    save_small_checkpoint(Path("model"), vocabulary)
    vocabulary.save("vocabulary.parquet")


def run(words: str) -> None:
    """Run a command to its end."""
    sys.argv = ["rankformer", *words.split()]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise


def stop(record: logging.LogRecord) -> bool:
    """Interrupt a training, as Ctrl-C does."""
    if record.getMessage().startswith("Step 6 of"):
        raise KeyboardInterrupt
    return True


def begin(words: str) -> None:
    """Run a training that is interrupted; the last of its checkpoints is kept."""
    logger = logging.getLogger("rankformer.training.callbacks")
    logger.addFilter(stop)
    try:
        run(words)
    except SystemExit:
        logging.getLogger("rankformer").info("Interrupted, as it should be.")
    finally:
        logger.removeFilter(stop)


def write_archive() -> None:
    """Write one of each into the working folder."""
    write_cells()
    for end in ("h5ad", "npy", "csv", "parquet"):
        run(f"embed cells.h5ad -o embedded.{end} --model model {CPU}")
    run(f"embed cells.h5ad -o genes.parquet --mode gene --summary mean --model model {CPU}")
    run("annotate cells.h5ad -r cells.h5ad --label kind -o annotated.csv --save-reference "
        f"reference --model model --n-neighbors 3 {CPU}")  # fmt: skip
    run("tokenize cells.h5ad -o tokens --attribute kind --model model")
    run("vocabulary sketch cells.h5ad -o corpus.sketch")
    run(f"perturb cells.h5ad -o perturbed.parquet --model model --n-cells 3 {CPU}")
    run("finetune cells.h5ad -o finetuned --label kind --regress age --group donor --model model "
        "--device cpu --max-steps 6 --batch-size 8 --evaluate-steps 3 --validation-share 0.25 "
        "--test-share 0.25")  # fmt: skip
    run(f"predict cells.h5ad -o predicted.h5ad --model finetuned {CPU}")
    begin(f"finetune cells.h5ad -o tuned-on --label kind --model model --evaluate-steps 2 "
          f"{TRAINING}")  # fmt: skip
    begin("pretrain cells.h5ad -o trained-on --model model --warmup-steps 1 --save-steps 2 "
          f"--evaluate-steps 4 --held-out-share 0.1 {TRAINING}")  # fmt: skip
    shutil.rmtree("finetuned.run")
    for each in [*Path().glob("*.run/runs"), *Path().glob("*.run/checkpoint-2")]:
        shutil.rmtree(each)


if __name__ == "__main__":
    folder = HERE / sys.argv[1]
    folder.mkdir()
    os.chdir(folder)
    write_archive()
