"""Shapes of models: what their sizes say about the work of a step."""

from dataclasses import dataclass

# bytes that Wen reads of a weight: int8 has a float16 scale for 128 of them, padded to whole cache lines; int4 for 32, as Q4_0 has
BYTES_PER_WEIGHT = {"int8": 8.25 / 8, "int4": 4.5 / 8, "none": 2.0}
BYTES_PER_CACHED_VALUE = 2  # BF16


@dataclass(frozen=True)
class Shape:
    """A dense Qwen3 whose output shares the embedding's matrix."""

    hidden: int
    intermediate: int
    layers: int = 28
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128
    vocabulary: int = 151_936

    def layer_weights(self) -> int:
        """Weights in the matrices of all layers: those that each token of a prompt is multiplied with."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def weight_bytes(self, quantize: str) -> float:
        """All matrices: what a step of decoding reads of them."""
        return (self.layer_weights() + self.vocabulary * self.hidden) * BYTES_PER_WEIGHT[quantize]

    def cache_bytes(self, tokens: float) -> float:
        """Keys and values of so many tokens."""
        return tokens * 2 * self.layers * self.kv_heads * self.head_dim * BYTES_PER_CACHED_VALUE

    def prefill_operations(self) -> int:
        """Multiplications and additions for a token of a prompt, without attention."""
        return 2 * self.layer_weights()

    def decode_bytes(self, quantize: str, context: float) -> float:
        """What a step of decoding one sequence has to read."""
        return self.weight_bytes(quantize) + self.cache_bytes(context)


SHAPES = {
    "qwen3-0.6b": Shape(hidden=1024, intermediate=3072),
    "qwen3-1.7b": Shape(hidden=2048, intermediate=6144),
}
