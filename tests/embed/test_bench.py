"""What a bench counts and measures."""

import numpy as np
import pytest
import torch
from tests.conftest import save_small_checkpoint, small_vocabulary
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.bench import make_tokens, measure_rounds
from rankformer.embed.embedder import Embedder
from rankformer.model.encoder import PackedBatch


@pytest.fixture
def embedder(checkpoint_folder):
    return Embedder(Checkpoint.open(checkpoint_folder), device="cpu", dtype="float32")


def test_flops_are_those_that_torch_counts(embedder):
    ragged = make_tokens(embedder, 5)
    batch = PackedBatch.pack(ragged, 0, 5)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        embedder.encoder(batch)
    spec, lengths = embedder.checkpoint.spec, np.diff(ragged[1])
    attention = sum(spec.attention_flops(int(length)) for length in lengths)
    assert spec.product_flops(int(lengths.sum())) + attention == counter.get_total_flops()


def test_tokens_fit_the_model_and_are_cells_of_many_lengths(tmp_path):
    folder = save_small_checkpoint(
        tmp_path / "small", small_vocabulary(n_genes=6000), max_positions=64
    )
    vocabulary = Checkpoint.open(folder).vocabulary
    values, offsets = make_tokens(Embedder(Checkpoint.open(folder), device="cpu"), 50)
    assert np.diff(offsets).max() <= vocabulary.input_length
    assert (values[offsets[:-1]] == vocabulary.cls_token).all()
    assert (values[offsets[1:] - 1] == vocabulary.eos_token).all()
    assert not np.isin(values, [vocabulary.pad_token, vocabulary.mask_token]).any()


def test_a_bench_times_the_encoder_and_its_parts(embedder):
    result = measure_rounds(embedder, make_tokens(embedder, 20), n_rounds=2)
    assert len(result.rounds) == len(result.ratios_to_parts) == 2
    assert all(
        rate > 0
        for each in result.rounds
        for rate in (each.seconds, each.product_rate, each.attention_rate, each.copy_rate)
    )
    flops = result.product_flops + result.attention_flops
    assert result.flops_per_second == pytest.approx(flops / result.seconds)
