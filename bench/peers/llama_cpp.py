"""llama.cpp, built from the source package of llama-cpp-python."""

import json
import os
import sys
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from peers.cache import CACHE, made_once
from peers.process import Server, run, serve

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SOURCE = CACHE / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
BUILD = CACHE / "llama.cpp"
TARGETS = ["llama-bench", "llama-server", "llama-quantize", "llama-batched-bench"]
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # the build would download it
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
}
FORMATS = {"int8": "Q8_0", "int4": "Q4_0", "none": "BF16"}
SLOT_STEP = 256  # llama-server rounds a slot's context to it


@dataclass(frozen=True)
class LlamaCpp:
    """The built programs and one model in each format."""

    models: dict[str, Path]  # by Wen's name of the format
    threads: int

    def prefill(self, quantize: str, prompt: int) -> float:
        """Tokens per second over a prompt."""
        return self._bench(quantize, ["-p", str(prompt), "-n", "0"])

    def decode(self, quantize: str, context: int, answer: int) -> float:
        """Tokens per second of an answer after `context` tokens."""
        return self._bench(quantize, ["-p", "0", "-n", str(answer), "-d", str(context)])

    def _bench(self, quantize: str, sizes: list[str]) -> float:
        command = [str(BUILD / "bin" / "llama-bench"), "-m", str(self.models[quantize]), "-t", str(self.threads)]
        return json.loads(run([*command, "-r", "1", "-o", "json", *sizes]))[0]["avg_ts"]

    def serve(
        self, quantize: str, slots: int, tokens: int, *, eight_bit_keys: bool = False
    ) -> AbstractContextManager[Server]:
        """A server with so many slots, each with room for `tokens`. Keys and values are F16, or take 8 bits."""
        room = -(-tokens // SLOT_STEP) * SLOT_STEP * slots
        command = [str(BUILD / "bin" / "llama-server"), "-m", str(self.models[quantize]), "--offline"]
        threads = ["-t", str(self.threads), "-tb", str(self.threads)]
        keys = ["-ctk", "q8_0", "-ctv", "q8_0", "-fa", "on"] if eight_bit_keys else []
        return serve([*command, *threads, *keys, "-np", str(slots), "-c", str(room)], "/health")


def prepare(checkpoint: Path, interpreter: str, threads: int) -> LlamaCpp:
    """Builds llama.cpp and converts the checkpoint, as far as that has not been done."""
    build(unpacked(interpreter))
    return LlamaCpp(dict(converted(checkpoint, interpreter)), threads)


def unpacked(interpreter: str) -> Path:
    if not SOURCE.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        archive = CACHE / f"llama_cpp_python-{VERSION}.tar.gz"
        if not archive.exists():
            fetch = ["download", f"{PACKAGE}=={VERSION}", "--no-deps", "--no-binary", ":all:", "--dest", str(CACHE)]
            run([interpreter, "-m", "pip", *fetch])
        with tarfile.open(archive) as package:
            inside = f"{archive.name.removesuffix('.tar.gz')}/vendor/llama.cpp/"
            members = [member for member in package if member.name.startswith(inside)]
            package.extractall(CACHE, members, filter="data")
    return SOURCE


def build(source: Path) -> None:
    """Builds for this processor. A file names the version that is built, so that another one is built anew."""
    stamp = BUILD / "version"
    if stamp.exists() and stamp.read_text() == VERSION:
        return
    print(f"building llama.cpp in {BUILD}; this takes a quarter of an hour on two cores", file=sys.stderr)
    definitions = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    run(["cmake", "-S", str(source), "-B", str(BUILD), "-G", "Ninja", *definitions])
    run(["ninja", "-C", str(BUILD), *TARGETS])
    stamp.write_text(VERSION)


def converted(checkpoint: Path, interpreter: str) -> Iterator[tuple[str, Path]]:
    """The checkpoint as GGUF in each format; all matrices in the one that the file is named for."""

    def convert(target: Path) -> None:
        script = str(SOURCE / "convert_hf_to_gguf.py")
        run([interpreter, script, str(checkpoint), "--outtype", "bf16", "--outfile", str(target)])

    def quantize(target: Path, name: str) -> None:
        program = str(BUILD / "bin" / "llama-quantize")
        run([program, "--pure", str(stored), str(target), name, str(os.cpu_count())])

    stored = made_once(checkpoint.with_name(f"{checkpoint.name}-{FORMATS['none']}.gguf"), convert)
    for wen_name, name in FORMATS.items():
        path = checkpoint.with_name(f"{checkpoint.name}-{name}.gguf")
        yield wen_name, made_once(path, lambda target, name=name: quantize(target, name))
