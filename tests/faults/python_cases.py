"""Bad input through Python: `tl.embed`, the interface of the notebook, the embedder."""

from pathlib import Path

import pandas as pd
from tests.conftest import small_vocabulary
from tests.faults.bad_input import BadInput, nothing
from tests.faults.cells import adata_of, counts, log_normalised

import rankformer


def embed_log(_: Path) -> None:
    adata = adata_of(log_normalised(counts()), layers={"counts": counts()})
    rankformer.tl.embed(adata, model="model", layer="X")


def embed_genes(_: Path) -> None:
    rankformer.tl.embed(adata_of(counts()), model="model", mode="gene")


def unknown_mode(_: Path) -> None:
    rankformer.GeneformerConfig(emb_mode="genes")


def cls_of_v1(_: Path) -> None:
    rankformer.Geneformer(rankformer.GeneformerConfig(model_name="model-v1", emb_mode="cls"))


def log_to_process_data(_: Path) -> None:
    geneformer = rankformer.Geneformer(rankformer.GeneformerConfig(model_name="model"))
    geneformer.process_data(adata_of(log_normalised(counts())))


def missing_column(_: Path) -> None:
    geneformer = rankformer.Geneformer(rankformer.GeneformerConfig(model_name="model"))
    geneformer.process_data(adata_of(counts()), gene_names="ensembl_id")


def v1_dataset(_: Path) -> None:
    configurations = (rankformer.GeneformerConfig(model_name=f"model{v}") for v in ("-v1", ""))
    first, second = map(rankformer.Geneformer, configurations)
    second.get_embeddings(first.process_data(adata_of(counts(40))))


def dataset_without_tokens(_: Path) -> None:
    from datasets import Dataset

    geneformer = rankformer.Geneformer(rankformer.GeneformerConfig(model_name="model"))
    geneformer.get_embeddings(Dataset.from_dict({"tokens": [[2, 5, 3]]}))


def cells_for_a_dataset(_: Path) -> None:
    geneformer = rankformer.Geneformer(rankformer.GeneformerConfig(model_name="model"))
    geneformer.get_embeddings(adata_of(counts()))


def list_for_a_dataset(_: Path) -> None:
    geneformer = rankformer.Geneformer(rankformer.GeneformerConfig(model_name="model"))
    geneformer.get_embeddings([[2, 5, 3]])


def parts_of_a_dataset(_: Path) -> None:
    from datasets import Dataset, DatasetDict

    geneformer = rankformer.Geneformer(rankformer.GeneformerConfig(model_name="model"))
    parts = DatasetDict(train=Dataset.from_dict({"input_ids": [[2, 5, 3]]}))
    geneformer.get_embeddings(parts)


def intervals(_: Path) -> None:
    adata = adata_of(counts())
    adata.obs["age"] = pd.cut(range(adata.n_obs), 4)
    attributes = {"age": "age"}
    configuration = rankformer.GeneformerConfig("model", custom_attr_name_dict=attributes)
    rankformer.Geneformer(configuration).process_data(adata)


def no_threads(_: Path) -> None:
    rankformer.ReadingOptions(n_threads=0)


def genes_of_another_vocabulary(_: Path) -> None:
    stream = rankformer.open_tokens(adata_of(counts(4)), small_vocabulary(special=False))
    embedder = rankformer.Embedder(rankformer.Checkpoint.open("model"), device="cpu")
    rankformer.summarize_genes([stream], embedder)


def unknown_statistic(_: Path) -> None:
    stream = rankformer.open_tokens(adata_of(counts(4)), small_vocabulary())
    embedder = rankformer.Embedder(rankformer.Checkpoint.open("model"), device="cpu")
    rankformer.summarize_genes([stream], embedder, statistic="mode")


def embedding_layers_attention(_: Path) -> None:
    embedder = rankformer.Embedder(rankformer.Checkpoint.open("model"), emb_layer=0, device="cpu")
    tokens = rankformer.tokenize_cells(adata_of(counts(4)), small_vocabulary())
    embedder.attention(tokens.ragged(0, 4))


def unknown_dtype(_: Path) -> None:
    rankformer.Embedder(rankformer.Checkpoint.open("model"), device="cpu", dtype="int4")


def path_to_tl(_: Path) -> None:
    rankformer.tl.embed("pbmc.h5ad", model="model")


def number_for_a_model(_: Path) -> None:
    rankformer.embed_cells(adata_of(counts()), 12)


def cells_for_a_vocabulary(_: Path) -> None:
    rankformer.tokenize_cells(adata_of(counts()), adata_of(counts()))


def misspelt_model(_: Path) -> None:
    rankformer.Embedder("rankformer_mini")


def number_for_a_label(_: Path) -> None:
    rankformer.build_reference(adata_of(counts()), "model", 7)


CASES = (
    BadInput(
        '`tl.embed("pbmc.h5ad", model=…)`: a path in place of AnnData',
        nothing,
        ("given as str", "AnnData, to which the result is added", "anndata.read_h5ad"),
        call=path_to_tl,
    ),
    BadInput(
        "`embed_cells(adata, 12)`",
        nothing,
        ("The model is given as int", "A name, a folder", "list_models()"),
        call=number_for_a_model,
    ),
    BadInput(
        "`tokenize_cells(adata, adata)`",
        nothing,
        ("The vocabulary is given as AnnData", "name or folder of the model", "rankformer-mini"),
        call=cells_for_a_vocabulary,
    ),
    BadInput(
        '`Embedder("rankformer_mini")`: a misspelt name',
        nothing,
        ("'rankformer_mini'", "Did you mean rankformer-mini?", "list_models()"),
        call=misspelt_model,
    ),
    BadInput(
        "`build_reference(adata, model, 7)`",
        nothing,
        ("labels is 7", "A text, or a list of texts", 'labels="cell_type"'),
        call=number_for_a_label,
    ),
    BadInput(
        '`tl.embed(adata, layer="X")`: log-normalised; the counts are in a layer',
        nothing,
        ("X holds log1p of counts", 'layers["counts"]', 'layer="counts"'),
        call=embed_log,
    ),
    BadInput(
        '`tl.embed(adata, mode="gene")`',
        nothing,
        ("'gene'", '"cell" or "cls"', "Embedder.genes"),
        call=embed_genes,
    ),
    BadInput(
        '`GeneformerConfig(emb_mode="genes")`',
        nothing,
        ("'genes'", "'cell', 'gene', 'cls'", "emb_mode"),
        call=unknown_mode,
    ),
    BadInput(
        '`Geneformer` with `emb_mode="cls"` and a V1 model',
        nothing,
        ("'cls'", "model-v1 has no <cls>", "V2 model", "emb_mode='cell'"),
        call=cls_of_v1,
    ),
    BadInput(
        "`process_data` of log-normalised values",
        nothing,
        ("X holds log1p of counts", "Raw counts", "Take the file with the raw counts"),
        call=log_to_process_data,
    ),
    BadInput(
        '`process_data(adata, gene_names="ensembl_id")`: no such column',
        nothing,
        ("no column 'ensembl_id'", "gene_names", "index"),
        call=missing_column,
    ),
    BadInput(
        "`get_embeddings` of a V2 model, of a dataset that was made for a V1 model",
        nothing,
        ("were made with the vocabulary", "small-v2", "process_data"),
        call=v1_dataset,
    ),
    BadInput(
        "`get_embeddings` of a dataset without `input_ids`",
        nothing,
        ("columns tokens", "input_ids", "process_data"),
        call=dataset_without_tokens,
    ),
    BadInput(
        "`get_embeddings(adata)`",
        nothing,
        ("given as AnnData", "Dataset of Hugging Face", "process_data"),
        call=cells_for_a_dataset,
    ),
    BadInput(
        "`get_embeddings` of a list",
        nothing,
        ("given as list", "Dataset of Hugging Face", "process_data"),
        call=list_for_a_dataset,
    ),
    BadInput(
        "`get_embeddings` of a `DatasetDict`",
        nothing,
        ("given as DatasetDict", "Dataset of Hugging Face", "dataset['train']"),
        call=parts_of_a_dataset,
    ),
    BadInput(
        "a custom attribute of intervals, as `pandas.cut` makes them",
        nothing,
        ("age holds pandas.interval", "one type", "astype(str)"),
        call=intervals,
    ),
    BadInput(
        "`ReadingOptions(n_threads=0)`",
        nothing,
        ("n_threads is 0", "at least 1", "Leave it out"),
        call=no_threads,
    ),
    BadInput(
        "`summarize_genes` of tokens for a V1 model, with a V2 model",
        nothing,
        ("vocabulary small-v1", "model's vocabulary small-v2", "embedder.checkpoint.vocabulary"),
        call=genes_of_another_vocabulary,
    ),
    BadInput(
        '`summarize_genes(statistic="mode")`',
        nothing,
        ("'mode'", "'mean', 'median'", "statistic"),
        call=unknown_statistic,
    ),
    BadInput(
        "`Embedder(emb_layer=0).attention`",
        nothing,
        ("embedding layer", "emb_layer"),
        call=embedding_layers_attention,
    ),
    BadInput(
        '`Embedder(dtype="int4")`',
        nothing,
        ("'int4'", "auto, float32, bfloat16, float16"),
        call=unknown_dtype,
    ),
)
