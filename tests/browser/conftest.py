"""A headless Chromium, and a report of real cells for it; skipped where either is missing."""

import shutil

import pytest

ARGUMENTS = (
    "--no-sandbox", "--no-first-run", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
NASTY = "<img src=x onerror=window.broken=1></script><script>window.broken=1</script>"


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def blood():
    """scanpy's 700 blood cells, with a column whose names hold markup and one that has gaps."""
    import numpy as np
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced()
    adata.obs["nasty"] = np.where(adata.obs["bulk_labels"] == "Dendritic", NASTY, "plain")
    adata.obs["lane"] = np.where(np.arange(adata.n_obs) % 10 == 0, "2", "1")
    return adata


@pytest.fixture(scope="session")
def report(blood, tmp_path_factory):
    """The page of these cells, with labels, batches and a table of perturbations."""
    import pandas as pd

    from rankformer import ReportSettings, write_report
    from rankformer.tokens.reading_options import ReadingOptions

    folder = tmp_path_factory.mktemp("report")
    tested = pd.DataFrame(
        {"symbol": ["LYZ", NASTY, "CD3D"], "n_cells": [30, 20, 30], "effect": [0.3, -0.2, 0.01],
         "p_value": [1e-6, 1e-4, 0.6], "q_value": [3e-6, 2e-4, 0.6]}
    )  # fmt: skip
    tested.to_csv(folder / "tested.csv", index=False)
    settings = ReportSettings(
        labels="bulk_labels", batch="lane", perturbed=folder / "tested.csv", title=NASTY
    )
    write_report(
        blood, folder / "report.html", settings, model="rankformer-mini",
        options=ReadingOptions(use_raw=True, undo_log1p=True),
    )  # fmt: skip
    return folder / "report.html"


@pytest.fixture
def page(browser, report):
    """The page, opened; at the end nothing may have failed or asked for the network."""
    opened = browser.new_page(viewport={"width": 1300, "height": 1000}, color_scheme="light")
    trouble = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("dialog", lambda dialog: trouble.append(dialog.message))
    opened.on(
        "request",
        lambda sent: trouble.append(sent.url) if sent.url.startswith(("http", "ws")) else None,
    )
    opened.goto(report.as_uri())
    opened.wait_for_function("document.documentElement.dataset.ready === 'true'")
    yield opened
    assert not trouble
    assert opened.evaluate("window.broken") is None, "markup of the data was run"
    opened.close()
