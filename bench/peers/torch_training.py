"""Training speed of PyTorch with transformers and, for an adapter, PEFT. Writes JSON. Weights are float32; in bfloat16, PyTorch
rounds what it multiplies (autocast).

    python torch_training.py adapter DIR CHATS BATCH THREADS float32|bfloat16
    python torch_training.py whole DIR CHATS BATCH THREADS float32|bfloat16
    python torch_training.py write DIR
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

IGNORED = -100  # as a label: of no loss


def write(path: str) -> None:
    """The small model, beside the tokenizer that is there."""
    tokens = len(AutoTokenizer.from_pretrained(path))
    sizes = {"hidden_size": 320, "intermediate_size": 896, "num_hidden_layers": 7, "head_dim": 40}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    config = Qwen3Config(vocab_size=tokens, tie_word_embeddings=True, max_position_embeddings=1024, **sizes, **heads)
    Qwen3ForCausalLM(config).save_pretrained(path)


def batches(path: str, chats: str, batch: int) -> list[dict[str, torch.Tensor]]:
    """Conversations padded to the longest of their batch, as collators do."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    lines = [json.loads(line) for line in Path(chats).read_text().splitlines()]
    texts = [tokenizer.apply_chat_template(line["messages"], tokenize=False) for line in lines]
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or "<|im_end|>"
    found = []
    for start in range(0, len(texts), batch):
        part = tokenizer(texts[start : start + batch], return_tensors="pt", padding=True)
        answers = part["attention_mask"].cumsum(1) * 2 > part["attention_mask"].sum(1, keepdim=True)
        part["labels"] = part["input_ids"].masked_fill(~(answers & part["attention_mask"].bool()), IGNORED)
        found.append(dict(part))
    return found


def measure(kind: str, path: str, chats: str, batch: int, threads: int, dtype: str) -> dict[str, float]:
    """Real tokens per second over all steps but the first, which sets up what later ones reuse."""
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    if kind == "adapter":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    tokens, started = 0, 0.0
    for step, part in enumerate(batches(path, chats, batch)):
        if step == 1:
            started = time.perf_counter()
        if step > 0:
            tokens += int(part["attention_mask"].sum())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(**part).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"tokens_per_second": tokens / seconds, "memory_bytes": peak}


def main() -> None:
    if sys.argv[1] == "write":
        write(sys.argv[2])
    else:
        kind, path, chats, batch, threads, dtype = sys.argv[1:]
        print(json.dumps(measure(kind, path, chats, int(batch), int(threads), dtype)))


if __name__ == "__main__":
    main()
