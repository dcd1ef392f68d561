"""Names from files are shown and never obeyed by a terminal; logs hold no secrets."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest

from rankformer.cli.process import set_up_logging
from rankformer.errors import CheckpointError, SettingsError
from rankformer.printable import fit_to_show, printable, without_secrets
from rankformer.show.evaluation_screen import render_embeddings
from rankformer.show.screen import Screen
from tests.conftest import save_small_checkpoint, small_vocabulary
from tests.terminal import run_on_terminal

# Clears the screen, rings, writes over a line, turns the text around, and the same by one byte.
HOSTILE = "\x1b[2J\x07\x08\r\x9b31m\u202e\u2066[red]:skull:[/red]"
SHOWN = r"\x1b[2J\x07\x08\r\x9b31m\u202e\u2066[red]:skull:[/red]"
# Colours, and the links that typer makes, of our own.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def obeyed(text):
    """What a terminal would obey, without colours and the ends of lines."""
    return re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f]",
                      COLOURS.sub("", text).replace("\r\n", "\n"))  # fmt: skip


def test_what_is_shown_says_which_characters_there_were():
    assert printable(HOSTILE) == SHOWN
    assert printable("Zellen µ β-Zelle 細胞 é") == "Zellen µ β-Zelle 細胞 é"
    assert fit_to_show("a\nb\tc\rd") == "a\nb\tc\\rd"


def test_errors_and_the_log_are_shown(capsys):
    error = SettingsError(f"The label {HOSTILE} is odd.", f"Not {HOSTILE}.", f"Rename {HOSTILE}.")
    assert str(error).count(SHOWN) == 3
    assert not obeyed(str(error))
    set_up_logging(logging.INFO)
    logging.getLogger("rankformer.x").info("Read %s,\nand more", HOSTILE)
    assert capsys.readouterr().err == f"Read {SHOWN},\nand more\n"


def test_a_screen_colours_what_is_ours_alone(capsys):
    from rich.markup import escape
    from rich.table import Table

    screen = Screen(force_terminal=True, width=200, color_system="standard")
    table = Table(title=escape(HOSTILE))
    table.add_column(escape(HOSTILE))
    table.add_row(f"[green]{escape(HOSTILE)}[/green]")
    with screen.capture() as captured:
        screen.print(f"[red]{escape(HOSTILE)}[/red]")
        screen.print(table)
    told = captured.get()
    assert told.count(SHOWN) == 4
    assert not obeyed(told)
    assert f"\x1b[31m{SHOWN}\x1b[0m" in told
    assert f"\x1b[32m{SHOWN}" in told


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Cells in which nothing is called as it should be."""
    import anndata as ad

    from tests.conftest import small_counts

    folder = tmp_path_factory.mktemp("hostile")
    save_small_checkpoint(folder / "model", small_vocabulary())
    adata = ad.AnnData(small_counts(30, 150, seed=1))
    adata.var_names = [f"G{i}" for i in range(1, 151)]
    label = HOSTILE.replace("/", "")
    adata.obs = pd.DataFrame(
        {label: np.where(np.arange(30) % 2, HOSTILE, "T")},
        index=[f"{HOSTILE}{i}" for i in range(30)],
    )
    adata.var[f"{label}names"] = [f"{HOSTILE}{i}" for i in range(150)]
    adata.layers[label] = adata.X
    adata.write_h5ad(folder / f"cells{label}.h5ad")
    return folder


def test_a_terminal_obeys_no_name(hostile):
    """A real terminal, with colours: what it is told moves nothing."""
    (file,) = hostile.glob("*.h5ad")
    label = HOSTILE.replace("/", "")
    status, told = run_on_terminal("inspect", file.name, width=400, cwd=hostile)
    assert status == 0
    assert not obeyed(told)
    assert "\x1b[1m" in told
    assert SHOWN.replace("/", "") in told
    words = ["annotate", file.name, "-r", file.name, "--label", label, "-m", "model"]
    status, told = run_on_terminal(
        *words, "-o", "out.csv", "--device", "cpu", width=400, cwd=hostile
    )
    assert status == 0, told
    # The bar of the progress writes over its own line.
    assert set(obeyed(re.sub(r"\r|\x1b\[(\?25[lh]|[0-9]*[AK])", "", told))) == set()
    # Its table breaks a long label after the width that is left to it.
    own = [line[2:].split("  ")[0] for line in told.replace("\r", "").splitlines()]
    assert SHOWN in "".join(own)


def test_an_evaluation_shows_its_names():
    """Of methods and labels, which come from files."""
    from rankformer.evaluate.embedding_report import EmbeddingEvaluation

    scores = pd.DataFrame({
        "method": [HOSTILE], "figure": ["knn_macro_f1"], "seed": [0], "fold": [0], "value": [0.5],
    })  # fmt: skip
    evaluation = EmbeddingEvaluation.__new__(EmbeddingEvaluation)
    intervals = pd.DataFrame({
        "method": [HOSTILE], "figure": ["knn_macro_f1"], "low": [0.4], "high": [0.6],
    })  # fmt: skip
    known = {
        "scores": scores, "intervals": intervals, "n_cells": 3,
        "settings": {"classes": [HOSTILE]}, "notes": (HOSTILE,),
    }  # fmt: skip
    evaluation.__dict__.update(known)
    screen = Screen(width=300)
    with screen.capture() as captured:
        render_embeddings(evaluation, screen)
    assert captured.get().count(SHOWN) >= 2
    assert not obeyed(captured.get())


# Secrets.

TOKEN = "hf_" + "Ab3" * 11 + "x"
SECRETS = {
    "an address with a password": ("https://user:s3cret@mirror.example/a", "s3cret"),
    "a token in an address": ("https://mirror.example/a?rev=main&token=s3cret", "s3cret"),
    "a signed address": ("https://cdn.example/a?X-Amz-Signature=s3cret&Expires=1", "s3cret"),
    "a header": ("Authorization: Bearer s3cret-s3cret", "s3cret"),
    "a token of the hub": (f"the token {TOKEN} is not valid", TOKEN),
}


@pytest.mark.parametrize("what", SECRETS)
def test_secrets_are_not_told(what, capsys, monkeypatch):
    text, secret = SECRETS[what]
    assert secret not in without_secrets(text)
    assert secret not in str(CheckpointError(f"It failed: {text}", text, text))
    set_up_logging(logging.INFO)
    logging.getLogger("rankformer.x").warning("It failed: %s", text)
    assert secret not in capsys.readouterr().err


def test_what_is_no_secret_is_told():
    for text in (
        "C:/data/donor@2/pbmc.h5ad", "https://huggingface.co/ctheodoris/Geneformer/resolve/main/config.json?download=true",
        "someone@example.org", "the keys of obsm: X_pca", "hf_cells_of_donor_1.h5ad", "a?b=c&d=e",
        "token 5 of 2,048", "ssh host:/data/pbmc.h5ad",
    ):  # fmt: skip
        assert without_secrets(text) == text


def test_the_token_of_the_environment_is_not_told(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-token-of-another-form")
    assert without_secrets("sent a-token-of-another-form.") == "sent ***."


def test_a_download_that_fails_tells_no_secret(command, monkeypatch, tmp_path):
    """The address of a mirror, with a password, and what the library says of it."""
    from huggingface_hub import constants

    address = "http://user:s3cret@127.0.0.1:9/?token=s3cret"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    status, printed, said = command("models", "fetch", "gf-6L-30M-i2048", "--json")
    assert status == 2
    assert "could not be fetched" in said
    assert "s3cret" not in said + printed
    # The words of the command are in the document.
    status, printed, said = command("inspect", address, "--json")
    assert status == 2
    assert "s3cret" not in said + printed


def test_the_words_of_a_command_hold_no_secret():
    from rankformer.show.summary_screen import summary_document
    from rankformer.summary import Summary

    address = "https://user:s3cret@mirror.example/"
    told = json.loads(summary_document(Summary(), ["rankformer", address], 1.0, [address]))
    assert told["command"] == ["rankformer", "https://***@mirror.example/"]
    assert told["warnings"] == ["https://***@mirror.example/"]
