"""Fill Helical's model cache with random weights of a published shape.

Runs in Helical's environment. Which files go where is asked of Helical itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
from contextlib import suppress
from pathlib import Path

MODELS = Path(".cache/helical/models")


def wanted_files(model_name: str) -> list[Path]:
    """Return the files that Helical would fetch for a model, relative to its models folder."""
    from helical.models.geneformer import Geneformer, GeneformerConfig
    from helical.utils.downloader import Downloader

    wanted: list[Path] = []
    Downloader.download_via_name = lambda _, name: wanted.append(Path(name))
    config = GeneformerConfig(model_name=model_name)
    # It asks for all of its files before it opens the first, and then fails to find one.
    with suppress(OSError, ValueError):
        Geneformer(config)
    return wanted


def write_checkpoint(config_path: Path, folder: Path, seed: int, *, as_bin: bool) -> None:
    """Save a BertForMaskedLM of random weights, with the published configuration as it is."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    model = BertForMaskedLM(BertConfig.from_json_file(config_path))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # All zeros or all ones would hide a bias that is mixed up.
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    model.save_pretrained(folder, safe_serialization=not as_bin)
    shutil.copyfile(config_path, folder / "config.json")


def copy_dictionary(dictionaries: Path, target: Path) -> None:
    """Copy the one published dictionary whose name starts as the wanted one does."""
    found = sorted(dictionaries.glob(f"{target.stem}*.pkl"))
    if len(found) != 1:
        names = [path.name for path in found]
        raise FileNotFoundError(f"{dictionaries}: one {target.stem}*.pkl expected, found {names}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found[0], target)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="published config.json")
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--dictionaries", type=Path, required=True, help="published pickles")
    parser.add_argument("--out", type=Path, required=True, help="home folder of the cache")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bin", action="store_true", help="pytorch_model.bin, not safetensors")
    return parser.parse_args()


def main() -> None:
    """Write dictionaries, configuration and weights below the home folder."""
    arguments = parse_arguments()
    home = arguments.out.resolve()
    os.environ.update(HOME=str(home), HF_HUB_OFFLINE="1")  # Helical reads both on import.
    wanted = wanted_files(arguments.model_name)
    for name in wanted:
        if name.suffix == ".pkl":
            copy_dictionary(arguments.dictionaries, home / MODELS / name)
    config = next(name for name in wanted if name.name == "config.json")
    checkpoint = home / MODELS / config.parent
    write_checkpoint(arguments.config, checkpoint, arguments.seed, as_bin=arguments.bin)
    print(checkpoint)


if __name__ == "__main__":
    main()
