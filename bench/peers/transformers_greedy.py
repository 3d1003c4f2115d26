"""What transformers makes of directories, in float32, as JSON: greedy tokens, logits, ids and prompts.

    python transformers_greedy.py TOKENS ANSWER_TOKENS TEXT DIR...
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

MESSAGES = [{"role": "user", "content": "Who are you?"}]


@torch.inference_mode()
def answer(path: str, prompt: list[int], tokens: int, text: str) -> dict:
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids, logits = list(prompt), None
    for _ in range(tokens):
        last = model(torch.tensor([ids])).logits[0, -1]
        logits = last if logits is None else logits
        ids.append(int(last.argmax()))
    render = None
    if tokenizer.chat_template:
        render = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    ends = GenerationConfig.from_pretrained(path).eos_token_id
    return {
        "greedy": ids[len(prompt) :],
        "logits": logits.tolist(),
        "ids": tokenizer.encode(text),
        "rendered": render,
        "ends": sorted(ends if isinstance(ends, list) else [ends]),
    }


def main() -> None:
    prompt, tokens, text, *paths = sys.argv[1:]
    ids = [int(token) for token in prompt.split(",")]
    print(json.dumps([answer(path, ids, int(tokens), text) for path in paths]))


if __name__ == "__main__":
    main()
