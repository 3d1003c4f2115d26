"""What `wen convert` writes, read by llama.cpp and transformers.

    python3 bench/convert.py [MODEL ...] [--wen target/release/wen]

Each model goes to a GGUF file in F32, from which llama.cpp has to answer with the 24 greedy tokens that Wen computes from
it, and to q8_0, q4_0 and q4_k, which llama.cpp has to load; the F32 file goes back to a directory, of which transformers has to
compute what it computes of the first one. Without models it takes the checkpoints in tests/data/parity, and those in
WEN_PARITY_DIR. Builds or finds both peers as compare.py does.
"""

import argparse
import http.client
import json
import os
import shutil
import struct
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from peers import cache, llama_cpp
from peers.process import Failed, run, serve

ROOT = cache.BENCH.parent
PROMPT = [5, 17, 256, 31, 9, 400, 88, 3, 3, 120, 77, 45]
ANSWER = 24  # greedy tokens that are compared
TEXT = "Hello, world! It's 2026. 通义千问\n\n  two spaces"
TOLERANCE = 2e-4  # of the largest logit, as in the parity tests
FIXTURES = ["qwen2-tied", "qwen3-tied", "llama3-rope-tied", "qwen3-embedding"]
MORE = [
    "llama-untied",
    "qwen2-untied-sharded",
    "qwen2-yarn",
    "qwen3-yarn",
    "qwen3-untied-bf16",
    "qwen3-v5-config-sharded",
]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="*", type=Path)
    arguments.add_argument("--wen", type=Path, default=ROOT / "target" / "release" / "wen")
    arguments.add_argument("--python", help="an interpreter with torch and transformers")
    arguments = arguments.parse_args()
    failures = 0
    try:
        interpreter = cache.python(arguments.python)
        llama_cpp.build(llama_cpp.unpacked(interpreter))
        with tempfile.TemporaryDirectory() as work:
            for model in arguments.models or [*fixtures(), mixture(Path(work))]:
                with tempfile.TemporaryDirectory(dir=work) as room:
                    failures += check(model, Path(room), arguments.wen, interpreter)
    except Failed as error:
        sys.exit(str(error))
    sys.exit(1 if failures else 0)


def fixtures() -> list[Path]:
    own = [ROOT / "tests" / "data" / "parity" / name for name in FIXTURES]
    whole = os.environ.get("WEN_PARITY_DIR")
    return own + [Path(whole) / name for name in MORE if whole and (Path(whole) / name).exists()]


def mixture(work: Path) -> Path:
    """The first layer of the mixture of experts: llama.cpp knows models whose layers all have some."""
    copy = work / "qwen3-moe"
    shutil.copytree(ROOT / "tests" / "data" / "parity" / "qwen3-moe", copy)
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 1, "mlp_only_layers": []}))
    return copy


def check(model: Path, room: Path, wen: Path, interpreter: str) -> int:
    """Prints a line for each comparison and gives the number of those that failed."""

    def convert(source: Path, name: str, *options: str) -> Path:
        run([str(wen), "convert", str(source), "--out", str(room / name), *options])
        return room / name

    file = convert(model, "f32.gguf", "--type", "f32")
    back = convert(file, "back")
    quantized = {name: convert(model, f"{name}.gguf", "--type", name) for name in ("q8_0", "q4_0", "q4_k")}
    ours = greedy(wen, file)
    theirs, ids = llama_answer(file, ANSWER)
    wen_ids = [int(i) for i in run([str(wen), "tokenize", str(file), TEXT, "--ids"]).split(",")]
    numbers = ",".join(map(str, PROMPT))
    script = str(cache.BENCH / "peers" / "transformers_greedy.py")
    before, after = json.loads(run([interpreter, script, numbers, str(ANSWER), TEXT, str(model), str(back)]))
    largest = max(map(abs, before["logits"]))
    off = max(abs(a - b) for a, b in zip(before["logits"], after["logits"], strict=True)) / largest
    text_before, text_after = ([answer[key] for key in ("ids", "rendered", "ends")] for answer in (before, after))
    results = {
        f"llama.cpp's {ANSWER} greedy tokens of the F32 file are Wen's": (ours, theirs),
        "llama.cpp's token ids are Wen's": (wen_ids, ids),
        "transformers' greedy tokens of the directory are the first model's": (before["greedy"], after["greedy"]),
        f"and Wen's; its logits are off by {off:.1e}": ((ours, True), (after["greedy"], off < TOLERANCE)),
        "its ids, prompt and end tokens are the first model's": (text_before, text_after),
    }
    for name, path in quantized.items():
        answer, _ = llama_answer(path, 1)
        results[f"llama.cpp answers from {name}"] = (1, len(answer))
    for what, (expected, found) in results.items():
        print(f"{'ok  ' if expected == found else 'FAIL'} {model.name}: {what}", flush=True)
        if expected != found:
            print(f"     expected {expected}\n     found    {found}")
    return sum(expected != found for expected, found in results.values())


def greedy(wen: Path, model: Path) -> list[int]:
    """The tokens of the largest logits, each after those before."""
    ids = list(PROMPT)
    with tempfile.TemporaryDirectory() as room:
        for _ in range(ANSWER):
            out = Path(room) / "logits"
            run([str(wen), "logits", str(model), "--tokens", ",".join(map(str, ids)), "--out", str(out)])
            last = last_logits(out.read_bytes())
            ids.append(max(range(len(last)), key=last.__getitem__))
    return ids[len(PROMPT) :]


def last_logits(file: bytes) -> tuple[float, ...]:
    """The last row of the safetensors' `logits` [tokens, vocab]."""
    (length,) = struct.unpack_from("<Q", file)
    head = json.loads(file[8 : 8 + length])["logits"]
    vocab = head["shape"][1]
    return struct.unpack_from(f"<{vocab}f", file, 8 + length + head["data_offsets"][1] - 4 * vocab)


def llama_answer(model: Path, tokens: int) -> tuple[list[int], list[int]]:
    """Greedy tokens and the ids of the text. Keys and values are kept in float32.

    They are asked for one by one: llama.cpp ends an answer at more tokens than the model's own end tokens, and leaves all of
    these out where it is told to go on.
    """
    program = [str(llama_cpp.BUILD / "bin" / "llama-server"), "-m", str(model), "--offline", "--no-warmup"]
    exact = ["-ctk", "f32", "-ctv", "f32", "-fa", "off", "-np", "1", "-c", "256"]
    with serve([*program, *exact], "/health") as server:
        sampling = {"temperature": 0, "samplers": ["top_k"], "top_k": 1}
        answer: list[int] = []
        for _ in range(tokens):
            asked = {"prompt": PROMPT + answer, "n_predict": 1, "return_tokens": True, **sampling}
            answer += ask(server.port, "/completion", asked)["tokens"]
        ids = ask(server.port, "/tokenize", {"content": TEXT, "add_special": False, "parse_special": False})
    return answer, ids["tokens"]


def ask(port: int, path: str, body: dict) -> dict:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise Failed(f"llama-server {path}: {response.status} {text[:300]!r}")
        return json.loads(text)


if __name__ == "__main__":
    main()
