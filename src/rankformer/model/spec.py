"""The shape of an encoder, read from and written to Hugging Face's ``config.json``."""

import json
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from rankformer.errors import CheckpointError, SettingsError, expect_type

LayerNumbering = Literal["hidden_states", "published"]
CONFIG_FILE = "config.json"
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
_ACTIVATIONS = ("relu", "gelu")
# Above it a size is damage: the largest published one is a vocabulary of 25,426.
_LARGEST_SIZE = 10**6


@dataclass(frozen=True)
class EncoderSpec:
    """What decides the tensors of an encoder and what they compute.

    Defaults are those of the published Geneformer checkpoints. `dropout` and `attention_dropout`
    act in training only.
    """

    vocab_size: int
    n_layers: int
    d_model: int
    n_heads: int
    d_ff: int
    max_positions: int
    n_types: int = 2
    pad_token: int = 0
    activation: str = "relu"
    layer_norm_eps: float = 1e-12
    dropout: float = 0.02
    attention_dropout: float = 0.02
    initializer_range: float = 0.02

    @property
    def head_size(self) -> int:
        return self.d_model // self.n_heads

    def product_flops(self, n_tokens: int) -> int:
        """Floating-point operations of the matrix products of all layers on `n_tokens` tokens."""
        each_token = 8 * self.d_model**2 + 4 * self.d_model * self.d_ff
        return self.n_layers * each_token * n_tokens

    def attention_flops(self, length: int) -> int:
        """Floating-point operations of all layers' attention in a cell of `length` tokens."""
        return self.n_layers * 4 * self.d_model * length**2

    def hidden_state_index(
        self, layer: int, layer_numbering: LayerNumbering = "hidden_states"
    ) -> int:
        """Translate a user's layer into the index of a hidden state, 0 … n_layers.

        Parameters
        ----------
        layer
            The layer asked for; negative numbers count from the end.
        layer_numbering
            ``"hidden_states"``: Hugging Face's and Helical's. 0 is the output of the embedding
            layer, i that of layer i, -1 the last. ``"published"``: the published geneformer
            package's ``emb_layer``. 0 is the last layer, -1 the one before it.

        Raises
        ------
        SettingsError
            If there is no such layer.
        """
        expect_type(
            layer, Integral, "emb_layer", "A whole number, such as -1 for the last.",
            "Correct emb_layer (--emb-layer).",
        )  # fmt: skip
        if layer_numbering not in ("hidden_states", "published"):
            raise SettingsError(
                f"The layer numbering is {layer_numbering!r}.",
                'Either "hidden_states" (as Hugging Face and Helical count) or "published" '
                "(as the published geneformer package counts).",
                "Pass one of the two.",
            )
        if layer_numbering == "published":
            index = self.n_layers + layer if layer <= 0 else -1
        else:
            index = layer if layer >= 0 else self.n_layers + 1 + layer
        if not 0 <= index <= self.n_layers:
            low, high = (
                (-self.n_layers, 0)
                if layer_numbering == "published"
                else (-self.n_layers - 1, self.n_layers)
            )
            raise SettingsError(
                f"Layer {layer} was asked for.",
                f"This model has {self.n_layers} layers: {low} to {high} in the numbering "
                f'"{layer_numbering}".',
                "Choose emb_layer (--emb-layer) in that range; -1 is the usual choice.",
            )
        return index

    @classmethod
    def read(cls, path: Path) -> "EncoderSpec":
        """Read a ``config.json``.

        Raises
        ------
        CheckpointError
            If it is missing, damaged, or of an architecture that this encoder does not compute.
        """
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            spec = cls._from_config(config, path)
        except CheckpointError:
            raise
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{path.parent} holds no {path.name}.",
                "The folder of a model: config.json and weights in Hugging Face's layout.",
                "Name such a folder, or take the file from where the checkpoint came from.",
            ) from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
                RecursionError) as error:  # fmt: skip
            raise CheckpointError(
                f"{path} could not be read: {type(error).__name__} {error}.",
                "The config.json of a BERT model in Hugging Face's layout.",
                "Take the file from where the checkpoint came from again.",
            ) from error
        return spec

    @classmethod
    def _from_config(cls, config: dict[str, Any], path: Path) -> "EncoderSpec":
        found = {
            "model_type": config.get("model_type", "bert"),
            "position_embedding_type": config.get("position_embedding_type", "absolute"),
            "hidden_act": config["hidden_act"],
            "is_decoder": config.get("is_decoder", False),
        }
        allowed = {
            "model_type": ("bert",),
            "position_embedding_type": ("absolute",),
            "hidden_act": _ACTIVATIONS,
            "is_decoder": (False,),
        }
        odd = {key: value for key, value in found.items() if value not in allowed[key]}
        if odd:
            raise CheckpointError(
                f"{path} says {', '.join(f'{k} = {v!r}' for k, v in odd.items())}.",
                f"{', '.join(f'{k} in {allowed[k]}' for k in odd)}: a BERT encoder.",
                "Use a Geneformer checkpoint.",
            )
        spec = cls(
            vocab_size=_whole(config["vocab_size"]),
            n_layers=_whole(config["num_hidden_layers"]),
            d_model=_whole(config["hidden_size"]),
            n_heads=_whole(config["num_attention_heads"]),
            d_ff=_whole(config["intermediate_size"]),
            max_positions=_whole(config["max_position_embeddings"]),
            n_types=_whole(config.get("type_vocab_size", 2)),
            pad_token=_whole(config.get("pad_token_id", 0)),
            activation=config["hidden_act"],
            layer_norm_eps=float(config.get("layer_norm_eps", 1e-12)),
            dropout=float(config.get("hidden_dropout_prob", 0.0)),
            attention_dropout=float(config.get("attention_probs_dropout_prob", 0.0)),
            initializer_range=float(config.get("initializer_range", 0.02)),
        )
        spec._check_sizes(path)
        spec._check_numbers(path)
        return spec

    def _check_sizes(self, path: Path) -> None:
        sizes = {
            "vocab_size": self.vocab_size,
            "num_hidden_layers": self.n_layers,
            "hidden_size": self.d_model,
            "num_attention_heads": self.n_heads,
            "intermediate_size": self.d_ff,
            "max_position_embeddings": self.max_positions,
            "type_vocab_size": self.n_types,
        }
        odd = {key: size for key, size in sizes.items() if not 1 <= size <= _LARGEST_SIZE}
        if not odd and self.d_model % self.n_heads:
            odd = {key: sizes[key] for key in ("hidden_size", "num_attention_heads")}
        if odd:
            raise CheckpointError(
                f"{path} says {', '.join(f'{k} = {v:,}' for k, v in odd.items())}.",
                "Sizes of 1 and more, and a hidden_size that the heads divide evenly.",
                "Take config.json from where the checkpoint came from again.",
            )

    def _check_numbers(self, path: Path) -> None:
        ranges = {
            "layer_norm_eps": (self.layer_norm_eps, self.layer_norm_eps > 0, 1),
            "hidden_dropout_prob": (self.dropout, self.dropout >= 0, 1),
            "attention_probs_dropout_prob": (
                self.attention_dropout, self.attention_dropout >= 0, 1
            ),
            "initializer_range": (self.initializer_range, self.initializer_range > 0, 100),
            "pad_token_id": (self.pad_token, self.pad_token >= 0, self.vocab_size),
        }  # fmt: skip
        odd = {
            key: value
            for key, (value, is_large_enough, bound) in ranges.items()
            if not (is_large_enough and value < bound)
        }
        if odd:
            raise CheckpointError(
                f"{path} says {', '.join(f'{key} = {value:g}' for key, value in odd.items())}.",
                "A layer_norm_eps above 0, dropout from 0 to below 1, an initializer_range above "
                f"0, and a pad_token_id from 0 to {self.vocab_size - 1:,}.",
                "Take config.json from where the checkpoint came from again.",
            )

    def to_config(self) -> dict[str, Any]:
        """The content of a ``config.json`` that opens in `transformers.BertForMaskedLM`."""
        return {
            "architectures": ["BertForMaskedLM"],
            "model_type": "bert",
            "vocab_size": self.vocab_size,
            "num_hidden_layers": self.n_layers,
            "hidden_size": self.d_model,
            "num_attention_heads": self.n_heads,
            "intermediate_size": self.d_ff,
            "max_position_embeddings": self.max_positions,
            "type_vocab_size": self.n_types,
            "pad_token_id": self.pad_token,
            "hidden_act": self.activation,
            "layer_norm_eps": self.layer_norm_eps,
            "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": self.attention_dropout,
            "initializer_range": self.initializer_range,
            "position_embedding_type": "absolute",
            "tie_word_embeddings": True,
        }


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} where a whole number is to be")
    return value
