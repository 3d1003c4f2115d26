"""Wen itself."""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from peers.process import Server, run, serve

MODEL = "bench"  # the name that requests use
PLAIN = ["--speculate", "off"]  # random weights repeat themselves, and guessing what repeats would look too good


@dataclass(frozen=True)
class Wen:
    binary: str
    checkpoint: Path
    threads: int

    def probe(self) -> dict[str, float]:
        """The machine's limits: `int8_gops`, `f32_gflops`, `read_gbs`."""
        return json.loads(run([self.binary, "bench", "--probe", "--json", "--threads", str(self.threads)]))

    def prefill(self, quantize: str, prompt: int) -> float:
        """Tokens per second over a prompt."""
        return self._bench(quantize, prompt, 2)["prefill_tokens_per_second"]["median"]

    def decode(self, quantize: str, context: int, answer: int) -> float:
        """Tokens per second of an answer after `context` tokens."""
        return self._bench(quantize, context, answer)["decode_tokens_per_second"]["median"]

    def _bench(self, quantize: str, prompt: int, answer: int) -> dict:
        sizes = ["--prompt", str(prompt), "--generate", str(answer), "--repeat", "1", "--threads", str(self.threads)]
        command = [self.binary, "bench", str(self.checkpoint), "--quantize", quantize, *sizes, *PLAIN, "--json"]
        return json.loads(run(command))["batches"][0]

    def serve(
        self, quantize: str, sequences: int, tokens: int, queue: int = 256, cache: Path | None = None
    ) -> AbstractContextManager[Server]:
        """A server for so many sequences at once, each with room for `tokens`; `cache` replaces the user's."""
        command = [self.binary, "serve", "--model", f"{MODEL}={self.checkpoint}", "--quantize", quantize]
        room = ["--context", str(tokens), "--cache-tokens", str(sequences * tokens)]
        limits = ["--max-sequences", str(sequences), "--queue", str(queue), "--threads", str(self.threads), *PLAIN]
        environment: Mapping[str, str] = {**os.environ, "XDG_CACHE_HOME": str(cache)} if cache else {}
        return serve([*command, *room, *limits], "/readyz", environment)
