"""A checkpoint: the folder of a model, of which the weights are loaded."""

from typing import TYPE_CHECKING

from rankformer.checkpoints.hashes import check_hash
from rankformer.checkpoints.model_folder import ModelFolder

if TYPE_CHECKING:
    import torch

    from rankformer.model.encoder import Encoder, MaskedLanguageModel


class Checkpoint(ModelFolder):
    """A model on this machine, verified to belong to its vocabulary.

    `Checkpoint.open` finds it without reading the weights, which `encoder` and
    `masked_language_model` load. Its attributes are those of `ModelFolder`.
    """

    def encoder(self, dtype: "torch.dtype | None" = None) -> "Encoder":
        """Load the encoder, on the CPU, not in training mode.

        Parameters
        ----------
        dtype
            float32 unless given.

        Raises
        ------
        CheckpointError
            If the weights are damaged, do not fit the configuration, or are not those that were
            written with it.
        """
        import torch

        from rankformer.checkpoints.weights import load_encoder

        encoder = load_encoder(self.weights_file, self.spec, dtype or torch.float32)
        self._check_weights()
        return encoder

    def masked_language_model(self) -> "MaskedLanguageModel":
        """Load the encoder with its masked-LM head; as `encoder`."""
        from rankformer.checkpoints.weights import load_masked_language_model

        model = load_masked_language_model(self.weights_file, self.spec)
        self._check_weights()
        return model

    def _check_weights(self) -> None:
        check_hash(self.weights_file, self.weights_sha256, self.bound_weights)
