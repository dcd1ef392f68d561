"""Pretraining that cannot begin, or cannot go on."""

from pathlib import Path

from tests.conftest import small_vocabulary
from tests.faults.bad_input import BadInput
from tests.faults.cells import adata_of, counts, write

BEGIN = "pretrain pbmc.h5ad -o mine --vocabulary genes.parquet"
SHAPE = "--layers 1 --width 8 --heads 2 --feed-forward 8 --device cpu"


def sound(folder: Path) -> None:
    write(folder)
    small_vocabulary().save(folder / "genes.parquet")


def begun(folder: Path) -> None:
    sound(folder)
    (folder / "mine.run").mkdir()
    (folder / "mine.run" / "settings.json").write_text('{"hyperparameters": {"seed": 7}}')


def of_one_donor(folder: Path) -> None:
    sound(folder)
    adata = adata_of(counts())
    adata.obs["donor"] = "D1"
    adata.write_h5ad(folder / "pbmc.h5ad")


CASES = (
    BadInput(
        "`pretrain` with neither a vocabulary nor a model", sound,
        ("Neither a vocabulary nor a model", "vocabulary build"),
        "pretrain pbmc.h5ad -o mine",
    ),
    BadInput(
        "a shape that is not whole", sound,
        ("d_model, n_heads, d_ff not given", "--preset"),
        f"{BEGIN} --layers 2",
    ),
    BadInput(
        "`--model` and `--vocabulary` together", sound,
        ("Both --model and a vocabulary", "--more-genes"),
        f"{BEGIN} --model model",
    ),
    BadInput(
        "`--more-genes` without `--model`", sound,
        ("--more-genes was given without --model", "--vocabulary"),
        f"{BEGIN} {SHAPE} --more-genes genes.parquet",
    ),
    BadInput(
        "`--coexpression` with `--model`", sound,
        ("--coexpression was given with --model", "Leave --coexpression out"),
        "pretrain pbmc.h5ad -o mine --model model --coexpression",
    ),
    BadInput(
        "`--coexpression` with a model that is too narrow for it", sound,
        ("The width is 8, in 2 heads", "Raise d_model (--width)"),
        f"{BEGIN} --layers 1 --width 8 --heads 2 --feed-forward 8 --device cpu --coexpression",
    ),
    BadInput(
        "no steps to train", sound,
        ("max_steps is 0", "--max-steps"),
        f"{BEGIN} {SHAPE} --max-steps 0",
    ),
    BadInput(
        "a negative learning rate", sound,
        ("learning_rate is -0.1", "--learning-rate"),
        f"{BEGIN} {SHAPE} --learning-rate -0.1",
    ),
    BadInput(
        "a negative number of workers", sound,
        ("-1 processes", "--workers"),
        f"{BEGIN} {SHAPE} --workers -1",
    ),
    BadInput(
        "a width that the heads do not divide", sound,
        ("d_model 9", "n_heads 2"),
        f"{BEGIN} --layers 1 --width 9 --heads 2 --feed-forward 8 --device cpu",
    ),
    BadInput(
        "a run that was begun, without `--resume`", begun,
        ("A run was begun in mine.run", "--resume"),
        f"{BEGIN} {SHAPE}",
    ),
    BadInput(
        "a run that was begun, resumed with other settings", begun,
        ("begun with other settings", "hyperparameters.seed was 7, is 0", "another output"),
        f"{BEGIN} {SHAPE} --resume",
    ),
    BadInput(
        "`--resume`, where no run was begun", sound,
        ("no run to resume in mine.run", "--resume"),
        f"{BEGIN} {SHAPE} --resume",
    ),
    BadInput(
        "`--held-out-by` a column that is not there", sound,
        ("no column 'donor'", "--held-out-by"),
        f"{BEGIN} {SHAPE} --held-out-by donor",
    ),
    BadInput(
        "`--held-out-by donor`, where all cells are of one", of_one_donor,
        ("donor has 1 group(s) (D1)", "--held-out-share"),
        f"{BEGIN} {SHAPE} --held-out-by donor",
    ),
    BadInput(
        "a batch larger than all cells", sound,
        ("300 cells", "--batch-size"),
        f"{BEGIN} {SHAPE} --batch-size 500",
    ),
)  # fmt: skip
