"""What is measured: for each section the engines, each with a function that measures it once."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from peers import cache, load, training
from peers.llama_cpp import LlamaCpp
from peers.load import Chats
from peers.process import run
from peers.shape import Shape
from peers.training import Work
from peers.wen import Wen

Metrics = dict[str, float]
Engines = dict[str, Callable[[int], Metrics]]  # measure in the round of this number

OVERLOAD_QUEUE = 16  # requests that may wait; as many as run
SPARE_TOKENS = 64  # of a sequence's room, beyond prompt and answer
MEMORY_ANSWER = 16
BF16 = "method.precision=bf16"
PART_TOKENS = 512  # that training computes at once; PEFT has no such setting


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    prompt: int = 512
    answer: int = 32
    long_context: int = 8192
    chats: Chats = Chats(count=16, prompt_tokens=512, answer_tokens=128)
    prefix: int = 2048
    overload_seconds: float = 120


QUICK = Sizes(64, 8, 256, Chats(count=4, prompt_tokens=64, answer_tokens=16), prefix=256, overload_seconds=5)


@dataclass(frozen=True)
class Bench:
    """All that the sections need."""

    shape: Shape
    sizes: Sizes
    wen: Wen
    llama_cpp: LlamaCpp
    interpreter: str  # with PyTorch


def prefill(bench: Bench) -> Engines:
    engines: Engines = {}
    for quantize, peer in (("int8", "llama.cpp Q8_0"), ("int4", "llama.cpp Q4_0")):
        engines[f"wen {quantize}"] = lambda _, how=quantize: speed(bench.wen.prefill(how, bench.sizes.prompt))
        engines[peer] = lambda _, how=quantize: speed(bench.llama_cpp.prefill(how, bench.sizes.prompt))
    return engines


def decode(bench: Bench) -> Engines:
    return decode_pair(bench, "int8", bench.sizes.prompt) | decode_pair(bench, "int4", bench.sizes.prompt)


def decode_long(bench: Bench) -> Engines:
    return decode_pair(bench, "int8", bench.sizes.long_context)


def decode_pair(bench: Bench, quantize: str, context: int) -> Engines:
    peer = {"int8": "llama.cpp Q8_0", "int4": "llama.cpp Q4_0"}[quantize]
    return {
        f"wen {quantize}": lambda _: speed(bench.wen.decode(quantize, context, bench.sizes.answer)),
        peer: lambda _: speed(bench.llama_cpp.decode(quantize, context, bench.sizes.answer)),
    }


def speed(tokens_per_second: float) -> Metrics:
    return {"tokens_per_second": tokens_per_second}


def bf16(bench: Bench) -> Engines:
    prompt, answer = bench.sizes.prompt, bench.sizes.answer

    def native(engine: Wen | LlamaCpp) -> Metrics:
        return {"prefill": engine.prefill("none", prompt), "decode": engine.decode("none", prompt, answer)}

    def transformers() -> Metrics:
        script = str(cache.BENCH / "peers" / "transformers_speed.py")
        sizes = [str(prompt), str(answer), str(bench.wen.threads)]
        return json.loads(run([bench.interpreter, script, str(bench.wen.checkpoint), *sizes]))

    return {
        "wen BF16": lambda _: native(bench.wen),
        "transformers BF16": lambda _: transformers(),
        "llama.cpp BF16": lambda _: native(bench.llama_cpp),
    }


def chats(bench: Bench, eight_bit_keys: bool = False) -> Engines:
    shape = bench.sizes.chats

    def measure(engine: Wen | LlamaCpp) -> Metrics:
        room = shape.tokens() + SPARE_TOKENS
        with engine.serve("int8", shape.count, room, eight_bit_keys=eight_bit_keys) as server:
            load.warm_up(server)
            return load.chats(server, shape)

    return {"wen int8": lambda _: measure(bench.wen), "llama-server Q8_0": lambda _: measure(bench.llama_cpp)}


def prefix(bench: Bench) -> Engines:
    tokens = bench.sizes.prefix

    def measure(engine: Wen | LlamaCpp, round_number: int) -> Metrics:
        with engine.serve("int8", 1, 2 * (tokens + SPARE_TOKENS)) as server:
            load.warm_up(server)
            return load.repeated_prefix(server, tokens, round_number)

    return {
        "wen int8": lambda round_number: measure(bench.wen, round_number),
        "llama-server Q8_0": lambda round_number: measure(bench.llama_cpp, round_number),
    }


def start(bench: Bench) -> Engines:
    """Seconds until ready where no packed weights are kept yet, and where they are; files in the page cache."""

    def measure() -> Metrics:
        with tempfile.TemporaryDirectory(dir=cache.CACHE) as directory:
            fresh = Path(directory) / "model"
            shutil.copytree(bench.wen.checkpoint, fresh, copy_function=os.link, ignore=all_but_the_checkpoint)
            wen = replace(bench.wen, checkpoint=fresh)
            seconds = []
            for _ in range(2):
                with wen.serve("int8", 1, bench.sizes.prompt, cache=Path(directory) / "cache") as server:
                    seconds.append(server.ready_seconds)
        return {"first_seconds": seconds[0], "second_seconds": seconds[1]}

    return {"wen int8": lambda _: measure()}


def all_but_the_checkpoint(directory: str, names: list[str]) -> set[str]:
    """What other programs have left beside the checkpoint."""
    return {name for name in names if not name.endswith((".json", ".safetensors"))}


def memory(bench: Bench) -> Engines:
    """The most memory with the cache of keys and values full, after a start that found packed weights."""
    tokens = bench.sizes.prefix + SPARE_TOKENS

    def measure() -> Metrics:
        with bench.wen.serve("int8", 1, tokens):
            pass  # packs the weights where nothing has yet
        with bench.wen.serve("int8", 1, tokens) as server:
            load.fill(server, tokens, MEMORY_ANSWER)
            return {
                "peak_bytes": server.peak_bytes(),
                "weight_bytes": bench.shape.weight_bytes("int8"),
                "cache_bytes": bench.shape.cache_bytes(tokens),
            }

    return {"wen int8": lambda _: measure()}


def overload(bench: Bench) -> Engines:
    shape = bench.sizes.chats

    def measure() -> Metrics:
        room = shape.tokens() + SPARE_TOKENS
        with bench.wen.serve("int8", shape.count, room, queue=OVERLOAD_QUEUE) as server:
            load.warm_up(server)
            return load.overload(server, shape, room, bench.sizes.overload_seconds)

    return {"wen int8": lambda _: measure()}


def adapter(bench: Bench) -> Engines:
    """LoRA of rank 16 on all linear layers, over the base in 8 bits and in float32; the rest in float32 and in BF16."""
    rank = ["method.rank=16", "optimizer.learning_rate=1e-4", f"steps.part_tokens={PART_TOKENS}"]
    base = bench.wen.checkpoint
    return {
        "wen int8": lambda _: bench.wen.train(base, training.ADAPTER, [*rank, "method.quantize=int8"]),
        "wen int8, BF16": lambda _: bench.wen.train(base, training.ADAPTER, [*rank, "method.quantize=int8", BF16]),
        "wen float32": lambda _: bench.wen.train(base, training.ADAPTER, rank),
        "PEFT": lambda _: torch_training(bench, "adapter", base, training.ADAPTER, "float32"),
        "PEFT BF16": lambda _: torch_training(bench, "adapter", base, training.ADAPTER, "bfloat16"),
    }


def whole(bench: Bench) -> Engines:
    """All weights of a model of 10 million, in float32 and in BF16."""

    def write(target: Path) -> None:
        training.small_checkpoint(target, bench.wen.binary, bench.interpreter)

    base = cache.made_once(cache.CACHE / "models" / "small", write)
    settings = ["method.kind=full", "optimizer.learning_rate=1e-4", "steps.part_tokens=8192"]
    return {
        "wen": lambda _: bench.wen.train(base, training.WHOLE, settings),
        "wen BF16": lambda _: bench.wen.train(base, training.WHOLE, [*settings, BF16]),
        "PyTorch": lambda _: torch_training(bench, "whole", base, training.WHOLE, "float32"),
        "PyTorch BF16": lambda _: torch_training(bench, "whole", base, training.WHOLE, "bfloat16"),
    }


def torch_training(bench: Bench, kind: str, base: Path, work: Work, dtype: str) -> Metrics:
    script = str(cache.BENCH / "peers" / "torch_training.py")
    with tempfile.TemporaryDirectory() as directory:
        chats = Path(directory) / "chats.jsonl"
        work.write(chats)
        sizes = [str(work.batch), str(bench.wen.threads)]
        return json.loads(run([bench.interpreter, script, kind, str(base), str(chats), *sizes, dtype]))


SECTIONS: dict[str, Callable[[Bench], Engines]] = {
    "prefill": prefill,
    "decode": decode,
    "decode-8k": decode_long,
    "bf16": bf16,
    "chats": chats,
    "chats-kv8": lambda bench: chats(bench, eight_bit_keys=True),
    "prefix": prefix,
    "start": start,
    "memory": memory,
    "overload": overload,
    "adapter": adapter,
    "whole": whole,
}
PROBED = {"prefill", "decode", "decode-8k"}  # compared with the machine's limits
