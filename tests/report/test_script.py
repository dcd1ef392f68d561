"""The script of the page is the one that its source gives."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "web" / "report"
PACKAGED = ROOT / "src" / "rankformer" / "report" / "page_files"


def test_the_packaged_script_is_built_from_its_source(tmp_path):
    node = shutil.which("node")
    if node is None or not (SOURCE / "node_modules").is_dir():
        pytest.skip("needs node, and `npm ci` in web/report")
    subprocess.run([str(node), "build.mjs", str(tmp_path)], cwd=SOURCE, check=True)
    for name in ("report.js", "LICENSES.txt"):
        told = f"{name} is old: npm run build in web/report"
        assert (PACKAGED / name).read_bytes() == (tmp_path / name).read_bytes(), told


def test_the_licences_of_what_is_in_it_are_packaged():
    text = (PACKAGED / "LICENSES.txt").read_text("utf-8")
    for package in ("regl-scatterplot", "regl ", "dom-2d-camera", "gl-matrix", "kdbush"):
        assert package in text
    assert "Permission is hereby granted" in text
