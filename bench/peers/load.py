"""What a server does under load: many chats at once, a prefix that repeats, far more requests than it can take."""

import asyncio
import math
import statistics
import time
from dataclasses import dataclass

from peers.client import Answer, complete, prompt
from peers.process import Failed, Server

CHAT_SEED, PREFIX_SEED, OVERLOAD_SEED, WARM_UP_SEED, FILL_SEED = 1_000, 2_000, 3_000, 4_000, 5_000
SUFFIX_TOKENS = 16  # what follows a repeated prefix
OVERLOAD = 10  # times the capacity
MOST_FILLS = 5
SETTLED = 1.002  # growth of memory by a load that found all of it used before


@dataclass(frozen=True)
class Chats:
    """Chats at once, each with a prompt of its own."""

    count: int
    prompt_tokens: int
    answer_tokens: int

    def tokens(self) -> int:
        return self.prompt_tokens + self.answer_tokens


def warm_up(server: Server) -> None:
    """The first request sets up what later ones reuse."""
    asyncio.run(complete(server.port, prompt(WARM_UP_SEED, SUFFIX_TOKENS), SUFFIX_TOKENS))


def fill(server: Server, tokens: int, answer_tokens: int) -> None:
    """One sequence of so many tokens, with an answer of so many at its end."""
    asyncio.run(complete(server.port, prompt(WARM_UP_SEED, tokens - answer_tokens), answer_tokens))


def chats(server: Server, shape: Chats) -> dict[str, float]:
    """All chats at once, until the last is complete."""
    answers, seconds = asyncio.run(together(server, shape))
    first = [answer.first_token_seconds() for answer in answers]
    gaps = [gap for answer in answers for gap in answer.gaps()]
    return {
        "tokens_per_second": sum(answer.tokens for answer in answers) / seconds,
        "first_token_seconds_p50": percentile(first, 50),
        "first_token_seconds_p99": percentile(first, 99),
        "between_tokens_seconds_p50": percentile(gaps, 50),
        "between_tokens_seconds_p99": percentile(gaps, 99),
        "pieces": sum(len(answer.pieces) for answer in answers),
    }


async def together(server: Server, shape: Chats, seed: int = CHAT_SEED) -> tuple[list[Answer], float]:
    started = time.perf_counter()
    prompts = [prompt(seed + chat, shape.prompt_tokens) for chat in range(shape.count)]
    answers = await asyncio.gather(*(complete(server.port, each, shape.answer_tokens) for each in prompts))
    seconds = time.perf_counter() - started
    if refused := [answer.status for answer in answers if answer.status != 200]:
        raise Failed(f"{len(refused)} of {shape.count} chats were refused with {refused[0]}")
    return answers, seconds


def repeated_prefix(server: Server, tokens: int, round_number: int) -> dict[str, float]:
    """Seconds to the first token after a prefix that is new, and after the same with another ending."""
    prefix = prompt(PREFIX_SEED + round_number, tokens)
    first = []
    for ending in range(2):
        whole = prefix + prompt(ending, SUFFIX_TOKENS)
        first.append(asyncio.run(complete(server.port, whole, 2)).first_token_seconds())
    return {"cold_seconds": first[0], "warm_seconds": first[1]}


def overload(server: Server, shape: Chats, room: int, seconds: float) -> dict[str, float]:
    """Requests that come at ten times the rate at which the server completes `shape` when it is just full.

    Sequences have room for `room` tokens. All of the cache is used before memory is read: later it may not grow.
    """
    use_all(server, Chats(shape.count, room - shape.answer_tokens, shape.answer_tokens))
    peak = chats(server, shape)["tokens_per_second"]
    before = server.resident_bytes()
    answers, elapsed = asyncio.run(arrive(server, shape, OVERLOAD * peak / shape.answer_tokens, seconds))
    refused = [answer for answer in answers if answer.status == 429]
    if others := {answer.status for answer in answers} - {200, 429}:
        raise Failed(f"under overload the server answered with {others}")
    if not refused:
        raise Failed(f"none of {len(answers)} requests was refused; this was no overload")
    latencies = [answer.status_at - answer.sent for answer in refused]
    return {
        "peak_tokens_per_second": peak,
        "goodput_tokens_per_second": sum(answer.tokens for answer in answers) / elapsed,
        "requests": len(answers),
        "refused": len(refused),
        "refused_with_retry_after": sum(answer.retry_after for answer in refused),
        "refusal_seconds_p50": percentile(latencies, 50),
        "refusal_seconds_p99": percentile(latencies, 99),
        "resident_bytes_before": before,
        "resident_bytes_after": server.resident_bytes(),
    }


def use_all(server: Server, shape: Chats) -> None:
    """Chats that fill the cache, again and again with others, until the server's memory has stopped growing."""
    for turn in range(MOST_FILLS):
        before = server.resident_bytes()
        asyncio.run(together(server, shape, FILL_SEED + turn * shape.count))
        if server.resident_bytes() <= before * SETTLED:
            return


async def arrive(server: Server, shape: Chats, per_second: float, seconds: float) -> tuple[list[Answer], float]:
    """Sends requests at a steady rate, whatever becomes of them, and waits until the last accepted is complete."""
    started = time.perf_counter()
    running = []
    for number in range(math.ceil(per_second * seconds)):
        await asyncio.sleep(started + number / per_second - time.perf_counter())
        tokens = prompt(OVERLOAD_SEED + number, shape.prompt_tokens)
        running.append(asyncio.create_task(complete(server.port, tokens, shape.answer_tokens)))
    answers = await asyncio.gather(*running)
    return answers, time.perf_counter() - started


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]
