"""Writes a checkpoint of a Qwen3's shape with random BF16 weights and the real Qwen vocabulary.

    python bench/random_checkpoint.py [--shape qwen3-0.6b] DIR

Speed and memory do not depend on what weights hold. The vocabulary comes from the `dashscope` package; nothing is
downloaded but packages.
"""

import argparse
import base64
import importlib.util
import json
import pathlib
from collections.abc import Iterator

import numpy as np

from peers.shape import SHAPES, Shape

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKUP = {151_657: "<tool_call>", 151_658: "</tool_call>", 151_667: "<think>", 151_668: "</think>"}
# as Qwen3's own: thinking is switched, and off means an empty thought
TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def ranks() -> dict[bytes, int]:
    """The tokens of Qwen's vocabulary as bytes, with their ids, which are also their merges' ranks."""
    package = pathlib.Path(importlib.util.find_spec("dashscope").origin).parent
    lines = (package / "resources" / "qwen.tiktoken").read_text().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(str.split, filter(None, lines))}


def glyphs() -> dict[int, str]:
    """GPT-2's printable character for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def last_merge(token: bytes, of: dict[bytes, int]) -> list[bytes]:
    """The two parts whose merge gives `token`: what merging with only the tokens before it leaves."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [of.get(left + right, len(of)) for left, right in zip(parts, parts[1:])]
        at = pairs.index(min(pairs))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def tokenizer() -> dict:
    """What tokenizer.json holds."""
    of, glyph = ranks(), glyphs()
    text = {token: "".join(glyph[byte] for byte in token) for token in of}
    merges = [[text[part] for part in last_merge(token, of)] for token in of if len(token) > 1]
    names = {len(of) + i: name for i, name in enumerate(CONTROL)} | MARKUP
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    bytes_as_they_are = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "added_tokens": [{"id": id, "content": name, "special": name in CONTROL, **plain} for id, name in names.items()],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_as_they_are]},
        "post_processor": bytes_as_they_are,
        "decoder": bytes_as_they_are,
        "model": {"type": "BPE", "vocab": {text[token]: rank for token, rank in of.items()}, "merges": merges},
    }


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and sizes, in the order of the file."""
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        name = f"model.layers.{layer}."
        yield name + "input_layernorm.weight", (shape.hidden,)
        yield name + "post_attention_layernorm.weight", (shape.hidden,)
        for part, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
            yield name + f"self_attn.{part}_proj.weight", (heads * shape.head_dim, shape.hidden)
        yield name + "self_attn.o_proj.weight", (shape.hidden, shape.heads * shape.head_dim)
        yield name + "self_attn.q_norm.weight", (shape.head_dim,)
        yield name + "self_attn.k_norm.weight", (shape.head_dim,)
        for part in ("gate", "up"):
            yield name + f"mlp.{part}_proj.weight", (shape.intermediate, shape.hidden)
        yield name + "mlp.down_proj.weight", (shape.hidden, shape.intermediate)
    yield "model.norm.weight", (shape.hidden,)


def write_weights(path: pathlib.Path, shape: Shape) -> None:
    header, end = {}, 0
    for name, size in tensors(shape):
        start, end = end, end + 2 * int(np.prod(size))
        header[name] = {"dtype": "BF16", "shape": size, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, size in tensors(shape):
            values = np.ones(size, np.float32)
            if len(size) > 1:
                values = random.standard_normal(size, np.float32) * np.float32(0.02)
            # the upper half of a float32 is a bfloat16
            file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="qwen3-0.6b", help="[%(default)s]")
    parser.add_argument("target", metavar="DIR", type=pathlib.Path)
    arguments = parser.parse_args()
    shape, target = SHAPES[arguments.shape], arguments.target
    target.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": 151_643,
        "eos_token_id": 151_645,
    }
    files = {
        "config.json": config,
        "generation_config.json": {"eos_token_id": [151_645, 151_643], "temperature": 0.6, "top_k": 20, "top_p": 0.95},
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": {"eos_token": "<|im_end|>", "chat_template": TEMPLATE},
    }
    for name, value in files.items():
        (target / name).write_text(json.dumps(value, ensure_ascii=False))
    write_weights(target / "model.safetensors", shape)


if __name__ == "__main__":
    main()
