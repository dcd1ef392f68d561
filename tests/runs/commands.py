"""Commands on three files, for tests of runs."""

import numpy as np
import pandas as pd
from tests.faults.bad_input import run_here

SIZES = {"a": 70, "b": 45, "c": 30}
KEY = "X_geneformer"


def give(folder, command, status=0):
    outcome = run_here(command.split(), folder)
    assert outcome.status == status, outcome.stderr
    return outcome.stderr


def embed(output, *options):
    options = " ".join(options)
    return f"embed cells -o {output} -m model --dtype float32 --shard-cells 20 {options}"


def expect_whole(folder, output, whole):
    table = pd.read_parquet(folder / output)
    assert table["cell"].tolist() == whole["cell"].tolist()
    assert table["source"].tolist() == whole["source"].tolist()
    vectors, right = (np.stack(each["vector"].to_list()) for each in (table, whole))
    np.testing.assert_allclose(vectors, right, atol=2e-6)


def shards(folder, run):
    return sorted((folder / run / "shards").glob("*.parquet"))
