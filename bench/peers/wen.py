"""Wen itself."""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from peers.process import Server, run, serve
from peers.training import Work

MODEL = "bench"  # the name that requests use
PLAIN = ["--speculate", "off"]  # random weights repeat themselves, and guessing what repeats would look too good


@dataclass(frozen=True)
class Wen:
    binary: str
    checkpoint: Path
    q4_0: Path  # the file with all matrices in Q4_0 that llama.cpp reads too: int4 is measured on the same bits
    threads: int

    def probe(self) -> dict[str, float]:
        """The machine's limits: `int8_gops`, `f32_gflops`, `bf16_gflops`, `read_gbs`."""
        return json.loads(run([self.binary, "bench", "--probe", "--json", "--threads", str(self.threads)]))

    def prefill(self, quantize: str, prompt: int) -> float:
        """Tokens per second over a prompt."""
        return self._bench(quantize, prompt, 2)["prefill_tokens_per_second"]["median"]

    def decode(self, quantize: str, context: int, answer: int) -> float:
        """Tokens per second of an answer after `context` tokens."""
        return self._bench(quantize, context, answer)["decode_tokens_per_second"]["median"]

    def _bench(self, quantize: str, prompt: int, answer: int) -> dict:
        sizes = ["--prompt", str(prompt), "--generate", str(answer), "--repeat", "1", "--threads", str(self.threads)]
        model, how = (self.q4_0, "auto") if quantize == "int4" else (self.checkpoint, quantize)
        command = [self.binary, "bench", str(model), "--quantize", how, *sizes, *PLAIN, "--json"]
        return json.loads(run(command))["batches"][0]

    def train(self, base: Path, work: Work, settings: list[str]) -> dict[str, float]:
        """Real tokens per second over all steps but the first, and the most memory after a step."""
        with tempfile.TemporaryDirectory() as directory:
            chats, output, recipe = (Path(directory) / name for name in ("chats.jsonl", "run", "recipe.toml"))
            work.write(chats)
            recipe.write_text(
                f'model = "{base}"\noutput = "{output}"\nthreads = {self.threads}\n[data]\ntrain = ["{chats}"]\n'
                f"shuffle = false\n[steps]\nepochs = 1\nbatch = {work.batch}\n"
            )
            run([self.binary, "train", str(recipe), *(part for setting in settings for part in ("--set", setting))])
            steps = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        tokens = sum(step["tokens"] for step in steps[1:])
        seconds = sum(step["tokens"] / step["tokens_per_second"] for step in steps[1:])
        return {
            "tokens_per_second": tokens / seconds,
            "memory_bytes": max(step["memory_bytes"] for step in steps),
        }

    def serve(
        self,
        quantize: str,
        sequences: int,
        tokens: int,
        queue: int = 256,
        cache: Path | None = None,
        eight_bit_keys: bool = False,
    ) -> AbstractContextManager[Server]:
        """A server for so many sequences at once, each with room for `tokens`; `cache` replaces the user's. Keys and values are BF16, or
        take 8 bits.
        """
        command = [self.binary, "serve", "--model", f"{MODEL}={self.checkpoint}", "--quantize", quantize]
        room = ["--context", str(tokens), "--cache-tokens", str(sequences * tokens)]
        room += ["--kv-type", "int8"] if eight_bit_keys else []
        limits = ["--max-sequences", str(sequences), "--queue", str(queue), "--threads", str(self.threads), *PLAIN]
        environment: Mapping[str, str] = {**os.environ, "XDG_CACHE_HOME": str(cache)} if cache else {}
        return serve([*command, *room, *limits], "/readyz", environment)
