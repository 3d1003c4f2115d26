"""Loading time, memory at 2k of context, and what 8 streams give over one, through the `openai` SDK.

    python bench/serving.py --wen target/release/wen --model DIR [--rounds 5]

One stream and eight alternate. The loading time is from the start of the process until /readyz answers, with the
checkpoint in the page cache; as root, --cold empties that cache first.
"""

import argparse
import concurrent.futures
import pathlib
import re
import signal
import statistics
import subprocess
import time
import urllib.request

import openai

CONTEXT, STREAMS, ANSWER = 2048, 8, 64


class Server:
    def __init__(self, wen, model):
        start = time.perf_counter()
        command = [wen, "serve", "--model", f"bench={model}", "--port", "0", "--context", str(CONTEXT)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        address = re.search(r"http://\S+", self.process.stdout.readline()).group()
        urllib.request.urlopen(f"{address}/readyz").read()
        self.load_seconds = time.perf_counter() - start
        self.client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=600)

    def peak_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024

    def answer(self, words, tokens):
        """Streams an answer; its prompt and answer tokens."""
        stream = self.client.chat.completions.create(
            model="bench",
            messages=[{"role": "user", "content": "river " * words}],
            max_tokens=tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        usage = [chunk.usage for chunk in stream][-1]
        return usage.prompt_tokens, usage.completion_tokens

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


def tokens_per_second(server, streams):
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        start = time.perf_counter()
        answers = [pool.submit(server.answer, 8, ANSWER) for _ in range(streams)]
        tokens = sum(answer.result()[1] for answer in answers)
        return tokens / (time.perf_counter() - start)


def show(name, values, unit):
    print(f"{name:30} {statistics.median(values):8.2f} ({min(values):.2f} to {max(values):.2f}) {unit}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wen", required=True, help="the binary, built for release")
    parser.add_argument("--model", required=True, help="a checkpoint directory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="load from disk, not from the page cache")
    arguments = parser.parse_args()
    loads, peaks, ones, eights = [], [], [], []
    for _ in range(arguments.rounds):
        if arguments.cold:
            subprocess.run(["sync"], check=True)
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
        server = Server(arguments.wen, arguments.model)
        try:
            loads.append(server.load_seconds)
            ones.append(tokens_per_second(server, 1))
            eights.append(tokens_per_second(server, STREAMS))
            if not peaks:
                prompt, answer = server.answer(CONTEXT - 32, 16)
                assert prompt + answer > CONTEXT - 32, (prompt, answer)
                peaks.append(server.peak_bytes())
        finally:
            server.stop()
    weights = sum(file.stat().st_size for file in pathlib.Path(arguments.model).glob("*.safetensors"))
    show("load", loads, "s")
    show(f"peak memory, {CONTEXT} of context", [peak / 1e9 for peak in peaks], "GB")
    show("over the weights", [peak / weights for peak in peaks], "times")
    show("one stream", ones, "tokens/s")
    show(f"{STREAMS} streams", eights, "tokens/s")
    show("ratio", [eight / one for one, eight in zip(ones, eights)], "times")


if __name__ == "__main__":
    main()
