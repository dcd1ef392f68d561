"""Write docs/bad-inputs.md from the cases: ``python -m tests.faults.write_page``."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest import mock

from tests.faults import (
    annotate_cases,
    evaluate_cases,
    file_cases,
    finetune_cases,
    gene_cases,
    model_cases,
    network_cases,
    perturb_cases,
    pretrain_cases,
    python_cases,
    report_cases,
    setting_cases,
    token_cases,
    value_cases,
    vocabulary_cases,
)
from tests.faults.bad_input import BadInput, lay_out, run, save_models, tell

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad-inputs.md"
CATEGORIES: Mapping[str, tuple[BadInput, ...]] = {
    "Values": value_cases.CASES,
    "Files": file_cases.CASES,
    "Genes": gene_cases.CASES,
    "Models": model_cases.CASES,
    "Settings and outputs": setting_cases.CASES,
    "Tokens": token_cases.CASES,
    "Vocabularies": vocabulary_cases.CASES,
    "Pretraining": pretrain_cases.CASES,
    "Fine-tuning and prediction": finetune_cases.CASES,
    "Evaluation": evaluate_cases.CASES,
    "Reports": report_cases.CASES,
    "Annotation": annotate_cases.CASES,
    "Perturbation": perturb_cases.CASES,
    "Networks of genes": network_cases.CASES,
    "From Python": python_cases.CASES,
}
INTRODUCTION = """\
# Bad inputs

What is said when something is wrong, and the exit status. Every message has three parts: what was
found, what was expected, what to do now. Nothing is left under the output's name, and inputs are
only read. From Python the same is raised as a `rankformer.RankformerError`, a `ValueError` with the
parts `found`, `expected` and `fix`.

This page is written by `python -m tests.faults.write_page` from cases that the tests run
(`tests/faults`): 300 cells and 120 genes, and small models of 200 genes with 3 layers. "…" stands
for what other libraries or machines say, which differs.
"""


def row(given: str, message: str, status: int | None) -> str:
    """A line of a table; the message stands as code, so that nothing in it is markup."""
    shown = message.replace("|", "\\|")
    return f"| {given} | `` {shown} `` | {'raised' if status is None else status} |"


def page(rows: Mapping[str, Iterable[str]]) -> str:
    """The whole page, of the rows of each category."""
    parts = [INTRODUCTION]
    for category, lines in rows.items():
        head = f"\n## {category}\n\n| given | message | exit status |\n|---|---|---|\n"
        parts.append(head + "".join(f"{line}\n" for line in lines))
    return "".join(parts)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        own = {"HOME": name, "HF_HOME": str(home / "huggingface"), "OMP_NUM_THREADS": "1"}
        with mock.patch.dict(os.environ, own):
            (home / "models").mkdir()
            models = save_models(home / "models")
            rows = {key: list(_rows(each, home / key, models)) for key, each in CATEGORIES.items()}
            PAGE.write_text(page(rows), encoding="utf-8")


def _rows(cases: Iterable[BadInput], folder: Path, models: Path) -> Iterable[str]:
    folder.mkdir()
    for number, case in enumerate(cases):
        place = folder / str(number)
        lay_out(case, place, models)
        outcome = run(case, place)
        yield row(case.given, tell(case, outcome, place), outcome.status)


if __name__ == "__main__":
    main()
