"""A model for a vocabulary with more genes than it was trained with."""

from dataclasses import replace

import torch

from rankformer.model.encoder import Encoder, MaskedLanguageModel


def resize_token_embeddings(model: MaskedLanguageModel, size: int) -> MaskedLanguageModel:
    """A model of `size` tokens whose first ones are those of `model`.

    Embeddings of new tokens are drawn as BERT draws them, and their biases in the head are 0: they
    are learned in the training that follows. What the old tokens give is unchanged to the bit.

    Parameters
    ----------
    model
        Left as it is.
    size
        Tokens of the new vocabulary, at least as many as the old one's.
    """
    spec = replace(model.encoder.spec, vocab_size=size)
    grown = MaskedLanguageModel(Encoder(spec))
    state = grown.state_dict()
    with torch.no_grad():
        for name, old in model.state_dict().items():
            state[name][: len(old)] = old
    return grown
