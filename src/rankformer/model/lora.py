"""LoRA through peft: differences of low rank that are trained in place of a layer's weights."""

from copy import deepcopy
from typing import Any

from torch import nn

from rankformer.model.encoder import Encoder

_PRODUCTS = ["qkv", "attention_out", "ffn_in", "ffn_out"]


def add_lora(encoder: Encoder, rank: int, alpha: int, dropout: float) -> nn.Module:
    """Freeze an encoder and put differences to be trained beside its layers' products.

    Parameters
    ----------
    encoder
        Wrapped, not copied.
    rank, alpha, dropout
        Of the differences; they are scaled by ``alpha / rank``.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=_PRODUCTS, bias="none"
    )
    model: nn.Module = get_peft_model(encoder, config)
    return model


def merge_lora(encoder: nn.Module) -> Encoder:
    """The encoder with its differences added to the weights; a copy, where there are any."""
    if isinstance(encoder, Encoder):
        return encoder
    wrapped: Any = deepcopy(encoder)
    merged: Encoder = wrapped.merge_and_unload()
    return merged
