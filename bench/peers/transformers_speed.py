"""Prompt and answer speed of transformers on PyTorch in BF16, as JSON.

    python transformers_speed.py DIR PROMPT_TOKENS ANSWER_TOKENS THREADS
"""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM


@torch.inference_mode()
def measure(model: torch.nn.Module, prompt: int, answer: int) -> dict[str, float]:
    """Tokens per second over a prompt and over the answer after it."""
    ids = torch.randint(0, 150_000, (1, prompt))
    started = time.perf_counter()
    output = model(ids, use_cache=True, logits_to_keep=1)
    prefilled = time.perf_counter()
    for _ in range(answer):
        next_id = output.logits[:, -1:].argmax(-1)
        output = model(next_id, past_key_values=output.past_key_values, use_cache=True)
    done = time.perf_counter()
    return {"prefill": prompt / (prefilled - started), "decode": answer / (done - prefilled)}


def main() -> None:
    path, prompt, answer, threads = sys.argv[1], *map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
    measure(model, prompt, 2)  # the first run sets up what later ones reuse
    print(json.dumps(measure(model, prompt, answer)))


if __name__ == "__main__":
    main()
