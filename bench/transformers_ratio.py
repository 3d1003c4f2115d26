"""Prompt and answer speed of Wen over that of transformers on PyTorch, same machine, same run.

    python bench/transformers_ratio.py --wen target/release/wen --model DIR [--rounds 5] [--dtype float32]

PyTorch computes in BF16, as the checkpoint is stored, or in float32, which is faster where the processor has no BF16
instructions and takes twice the memory. Rounds of the two alternate. Prints medians with their spread, and the ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from transformers import AutoModelForCausalLM

PROMPT, ANSWER = 512, 32


def wen(binary, model):
    command = [binary, "bench", model, "--prompt", str(PROMPT), "--generate", str(ANSWER), "--repeat", "1", "--json"]
    batch = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["batches"][0]
    return batch["prefill_tokens_per_second"]["median"], batch["decode_tokens_per_second"]["median"]


@torch.inference_mode()
def transformers(model):
    ids = torch.randint(0, 150_000, (1, PROMPT))
    start = time.perf_counter()
    output = model(ids, use_cache=True, logits_to_keep=1)
    prefill = PROMPT / (time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(ANSWER - 1):
        next_id = output.logits[:, -1:].argmax(-1)
        output = model(next_id, past_key_values=output.past_key_values, use_cache=True)
    return prefill, (ANSWER - 1) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wen", required=True, help="the binary, built for release")
    parser.add_argument("--model", required=True, help="a BF16 checkpoint directory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="PyTorch's")
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    reference = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype))
    transformers(reference)  # the first run sets up what later ones reuse
    rounds = []
    for _ in range(arguments.rounds):
        rounds.append((wen(arguments.wen, arguments.model), transformers(reference)))
    for i, name in enumerate([f"prefill of {PROMPT}", f"decode after {PROMPT}"]):
        ours, theirs = ([round[who][i] for round in rounds] for who in (0, 1))
        ratios = [our / their for our, their in zip(ours, theirs)]
        for who, values, unit in (("wen", ours, "tokens/s"), ("transformers", theirs, "tokens/s"), ("ratio", ratios, "")):
            median, least, most = statistics.median(values), min(values), max(values)
            print(f"{name:18} {who:13} {median:7.2f} ({least:.2f} to {most:.2f}) {unit}")


if __name__ == "__main__":
    main()
