"""Fine-tuning that cannot begin, and predictions that cannot be made."""

from pathlib import Path

import pandas as pd
import torch
from tests.conftest import small_vocabulary
from tests.faults.bad_input import BadInput
from tests.faults.cells import adata_of, counts

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.finetuned import write_finetuned
from rankformer.model.heads import Head, draw_head

BEGIN = "finetune pbmc.h5ad -o mine -m model --device cpu"
PREDICT = "predict pbmc.h5ad -o out.csv -m tuned --device cpu"


def labelled(folder: Path) -> None:
    adata = adata_of(counts())
    kinds = ["T", "B"] * adata.n_obs
    adata.obs["cell_type"] = kinds[: adata.n_obs]
    adata.obs["sex"] = "F"
    adata.obs["donor"] = [f"D{i % 2}" for i in range(adata.n_obs)]
    adata.write_h5ad(folder / "pbmc.h5ad")


def with_numbers(folder: Path) -> None:
    adata = adata_of(counts())
    adata.obs["rank"] = range(adata.n_obs)
    adata.write_h5ad(folder / "pbmc.h5ad")


def with_genes(folder: Path) -> None:
    labelled(folder)
    ids = small_vocabulary().ensembl_ids
    table = pd.DataFrame({"ensembl_id": [ids[0], ids[0], ids[1]], "class": ["a", "b", "a"]})
    table.to_csv(folder / "genes.csv", index=False)


def tuned(folder: Path) -> None:
    labelled(folder)
    checkpoint = Checkpoint.open(folder / "model")
    torch.manual_seed(0)
    (folder / "tuned").mkdir()
    write_finetuned(
        folder / "tuned", checkpoint.encoder(), [Head("cell_type", ("B", "T"))],
        [draw_head(checkpoint.spec.d_model, 2, 0.02)], checkpoint.vocabulary,
        unit="cell", mode="cell",
    )  # fmt: skip


def cut_short(folder: Path) -> None:
    tuned(folder)
    path = folder / "tuned" / "heads.safetensors"
    path.write_bytes(path.read_bytes()[:40])


CASES = (
    BadInput("`finetune` without a label", labelled, ("No label was named", "--label"), BEGIN),
    BadInput(
        "a label that obs has not",
        labelled,
        ("obs has no column 'celltype'", "cell_type", "--label"),
        f"{BEGIN} --label celltype",
    ),
    BadInput(
        "a label of one class",
        labelled,
        ("'sex' has 1 class(es): F", "two classes"),
        f"{BEGIN} --label sex",
    ),
    BadInput(
        "a number of each cell as a class",
        with_numbers,
        ("'rank' has", "numbers in", "--regress"),
        f"{BEGIN} --label rank",
    ),
    BadInput(
        "text to regress",
        labelled,
        ("'cell_type' holds 'T'", "Numbers", "--label"),
        f"{BEGIN} --regress cell_type",
    ),
    BadInput(
        "a group that obs has not",
        labelled,
        ("no column 'patient'", "--group"),
        f"{BEGIN} --label cell_type --group patient",
    ),
    BadInput(
        "more folds than donors",
        labelled,
        ("There are 2 groups to make 5 folds", "--folds"),
        f"{BEGIN} --label cell_type --group donor --folds 5",
    ),
    BadInput(
        "shares that leave nothing to train on",
        labelled,
        ("0.6 and 0.6", "--validation-share"),
        f"{BEGIN} --label cell_type --validation-share 0.6 --test-share 0.6",
    ),
    BadInput(
        "more layers to freeze than there are",
        labelled,
        ("9 layers were to be frozen", "--freeze-layers"),
        f"{BEGIN} --label cell_type --freeze-layers 9",
    ),
    BadInput(
        "`--mode cls` with a model without `<cls>`",
        labelled,
        ("no <cls> token", "--mode cell"),
        "finetune pbmc.h5ad -o mine -m model-v1 --device cpu --label cell_type --mode cls",
    ),
    BadInput(
        "LoRA with frozen layers",
        labelled,
        ("LoRA and frozen layers", "--lora-rank"),
        f"{BEGIN} --label cell_type --lora-rank 2 --freeze-layers 1",
    ),
    BadInput(
        "`--lora-alpha` without a rank",
        labelled,
        ("lora_alpha is 8, and no lora_rank", "--lora-rank"),
        f"{BEGIN} --label cell_type --lora-alpha 8",
    ),
    BadInput(
        "`--gene-column` without `--genes`",
        labelled,
        ("--gene-column was given without --genes", "--gene-ids"),
        f"{BEGIN} --label cell_type --gene-column gene",
    ),
    BadInput(
        "`--class-weights` with numbers alone",
        labelled,
        ("class_weights was given, and only numbers", "--class-weights"),
        f"{BEGIN} --regress sex --class-weights",
    ),
    BadInput(
        "a search for hyperparameters together with folds",
        labelled,
        ("A search and folds", "--folds"),
        f"{BEGIN} --label cell_type --search 2 --folds 2",
    ),
    BadInput(
        "no prefix for predictions",
        tuned,
        ("The prefix is empty", "--prefix"),
        f"{PREDICT} --prefix ''",
    ),
    BadInput(
        "two weights for one label",
        labelled,
        ("2 weight(s) were given for 1", "--label-weight"),
        f"{BEGIN} --label cell_type --label-weight 1 --label-weight 2",
    ),
    BadInput(
        "a gene with two classes",
        with_genes,
        ("more than one class", "ENSG00000000001"),
        f"{BEGIN} --genes genes.csv --label class",
    ),
    BadInput(
        "a table of genes without the column",
        with_genes,
        ("table of genes has no column 'gene'", "--gene-column"),
        f"{BEGIN} --genes genes.csv --label class --gene-column gene",
    ),
    BadInput(
        "a table of genes that is not there",
        labelled,
        ("nowhere.csv could not be read", "--genes"),
        f"{BEGIN} --genes nowhere.csv --label class",
    ),
    BadInput(
        "`--genes` with `--group`",
        with_genes,
        ("--group", "for cells"),
        f"{BEGIN} --genes genes.csv --label class --group donor",
    ),
    BadInput(
        "`finetune` onto what is there",
        tuned,
        ("tuned exists already", "another name"),
        "finetune pbmc.h5ad -o tuned -m model --device cpu --label cell_type",
    ),
    BadInput(
        "`predict` with a model without heads",
        labelled,
        ("model is no fine-tuned model", "rankformer finetune"),
        "predict pbmc.h5ad -o out.csv -m model --device cpu",
    ),
    BadInput(
        "heads cut short",
        cut_short,
        ("heads.safetensors could not be read",),
        PREDICT,
    ),
    BadInput(
        "a threshold that is no probability",
        tuned,
        ("threshold is 50", "--threshold"),
        f"{PREDICT} --threshold 50",
    ),
    BadInput(
        "predictions for a format that there is not",
        tuned,
        (".xlsx", ".csv"),
        "predict pbmc.h5ad -o out.xlsx -m tuned --device cpu",
    ),
    BadInput(
        "a prefix that obs cannot have",
        tuned,
        ("'a/cell_type'", "slash"),
        f"{PREDICT} --prefix a/",
    ),
)
