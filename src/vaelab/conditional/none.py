"""A model of images alone."""

from vaelab.parts import Decoder, Encoder, Prior


class Unconditional:
    """Encoder, decoder and prior as they are.

    Attributes:
        decoder_inputs: what the decoder gets beside z.
    """

    decoder_inputs = 0

    def __call__(self, encoder: Encoder, decoder: Decoder, prior: Prior) -> tuple[Encoder, Decoder, Prior]:
        """The parts, unchanged."""
        return encoder, decoder, prior
