"""From readings to what they show: a table with the promised numbers beside the measured ones."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from peers.load import OVERLOAD
from peers.sections import Sizes
from peers.shape import Shape

GROWTH_PERCENT = 5  # of resident memory under overload that still counts as flat


@dataclass(frozen=True)
class Spread:
    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.least)} to {number(self.most)})"


@dataclass(frozen=True)
class Claim:
    """One thing that was measured, and what it must come to."""

    what: str
    value: Spread
    unit: str
    target: float | None
    at_least: bool
    detail: str  # the readings behind it

    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value.median >= self.target if self.at_least else self.value.median <= self.target

    def target_text(self) -> str:
        if self.target is None:
            return ""
        return f"{'at least' if self.at_least else 'at most'} {number(self.target)}{self.unit}"


@dataclass(frozen=True)
class Readings:
    """One section's: values of each engine and metric, one per round."""

    engines: dict[str, dict[str, list[float]]]
    probes: list[dict[str, float]]

    def of(self, engine: str, metric: str) -> list[float]:
        return self.engines[engine][metric]

    def limit(self, name: str) -> float:
        """What the probe found the machine to allow, in this section's rounds."""
        return statistics.median(probe[name] for probe in self.probes)


def claims(sections: dict[str, Readings], shape_name: str, shape: Shape, sizes: Sizes) -> list[Claim]:
    """What the measured sections show, in the order of the sections."""
    makers: dict[str, Callable[[Readings], Iterator[Claim]]] = {
        "prefill": lambda readings: prefill(readings, shape, sizes),
        "decode": lambda readings: decode(readings, shape, sizes),
        "decode-8k": lambda readings: decode_long(readings, shape, sizes),
        "bf16": lambda readings: bf16(readings, sizes),
        "chats": lambda readings: chats(readings, sizes),
        "chats-kv8": lambda readings: chats_over_8_bits(readings, sizes),
        "prefix": lambda readings: prefix(readings, sizes),
        "start": lambda readings: start(readings, shape_name),
        "memory": memory,
        "overload": overload,
        "adapter": adapter,
        "whole": whole,
    }
    return [claim for name, make in makers.items() if name in sections for claim in make(sections[name])]


def prefill(readings: Readings, shape: Shape, sizes: Sizes) -> Iterator[Claim]:
    what = f"prompt of {sizes.prompt}"
    yield times(f"{what}, int8", readings, "tokens_per_second", "wen int8", "llama.cpp Q8_0", 5)
    yield times(f"{what}, int4", readings, "tokens_per_second", "wen int4", "llama.cpp Q4_0", None)
    if readings.probes:
        limit = readings.limit("int8_gops") * 1e9 / shape.prefill_operations()
        yield share(f"{what}, int8, of the int8 peak", readings, "wen int8", limit, 55)


def decode(readings: Readings, shape: Shape, sizes: Sizes) -> Iterator[Claim]:
    for quantize, peer in (("int8", "llama.cpp Q8_0"), ("int4", "llama.cpp Q4_0")):
        what = f"decode after {sizes.prompt}, {quantize}"
        yield times(what, readings, "tokens_per_second", f"wen {quantize}", peer, 1.6)
        if readings.probes:
            limit = decode_limit(readings, shape, quantize, sizes.prompt + sizes.answer / 2)
            yield share(f"{what}, of the read bandwidth", readings, f"wen {quantize}", limit, 80)


def decode_long(readings: Readings, shape: Shape, sizes: Sizes) -> Iterator[Claim]:
    what = f"decode after {sizes.long_context}, int8"
    yield times(what, readings, "tokens_per_second", "wen int8", "llama.cpp Q8_0", 2)
    if readings.probes:
        limit = decode_limit(readings, shape, "int8", sizes.long_context + sizes.answer / 2)
        yield share(f"{what}, of the read bandwidth", readings, "wen int8", limit, None)


def decode_limit(readings: Readings, shape: Shape, quantize: str, context: float) -> float:
    """Tokens per second at which a step's weights, keys and values can be read."""
    return readings.limit("read_gbs") * 1e9 / shape.decode_bytes(quantize, context)


def bf16(readings: Readings, sizes: Sizes) -> Iterator[Claim]:
    for metric, what in (("prefill", f"prompt of {sizes.prompt}"), ("decode", f"decode after {sizes.prompt}")):
        yield times(f"{what}, BF16", readings, metric, "wen BF16", "transformers BF16", 1.5)
        yield times(f"{what}, BF16", readings, metric, "wen BF16", "llama.cpp BF16", None)


def chats(readings: Readings, sizes: Sizes) -> Iterator[Claim]:
    what, ours, theirs = f"{sizes.chats.count} chats at once, int8", "wen int8", "llama-server Q8_0"
    yield times(what, readings, "tokens_per_second", ours, theirs, 6)
    for metric, name, target in (
        ("between_tokens_seconds_p99", "p99 between tokens", 1.0),
        ("between_tokens_seconds_p50", "p50 between tokens", None),
        ("first_token_seconds_p50", "p50 to the first token", None),
    ):
        lesser, greater = readings.of(ours, metric), readings.of(theirs, metric)
        detail = f"Wen {Spread.of(lesser)} s; {theirs} {Spread.of(greater)} s"
        ratios = [100 * our / their for our, their in zip(lesser, greater)]
        target_percent = None if target is None else 100 * target
        yield Claim(f"{what}, {name}, of {theirs}'s", Spread.of(ratios), "%", target_percent, False, detail)


def chats_over_8_bits(readings: Readings, sizes: Sizes) -> Iterator[Claim]:
    what = f"{sizes.chats.count} chats at once, int8, keys and values in 8 bits"
    yield times(what, readings, "tokens_per_second", "wen int8", "llama-server Q8_0", None)


def prefix(readings: Readings, sizes: Sizes) -> Iterator[Claim]:
    for engine, target in (("wen int8", 8), ("llama-server Q8_0", None)):
        cold, warm = readings.of(engine, "cold_seconds"), readings.of(engine, "warm_seconds")
        shares = [100 * again / first for first, again in zip(cold, warm)]
        what = f"first token after a repeated prefix of {sizes.prefix}, {engine}, of the cold one"
        yield Claim(what, Spread.of(shares), "%", target, False, f"cold {Spread.of(cold)} s; warm {Spread.of(warm)} s")


def start(readings: Readings, shape_name: str) -> Iterator[Claim]:
    first, second = (readings.of("wen int8", metric) for metric in ("first_seconds", "second_seconds"))
    target = 1 if shape_name == "qwen3-0.6b" else None
    yield Claim("second start, int8", Spread.of(second), " s", target, False, f"first {Spread.of(first)} s")


def memory(readings: Readings) -> Iterator[Claim]:
    peak, weights, cache = (
        [value / 1e6 for value in readings.of("wen int8", metric)]
        for metric in ("peak_bytes", "weight_bytes", "cache_bytes")
    )
    beyond = [value - held - cached for value, held, cached in zip(peak, weights, cache)]
    detail = f"peak {Spread.of(peak)} MB; weights {number(weights[0])} MB; keys and values {number(cache[0])} MB"
    yield Claim("memory beyond weights, keys and values, int8", Spread.of(beyond), " MB", 150, False, detail)


def overload(readings: Readings) -> Iterator[Claim]:
    def of(metric: str) -> list[float]:
        return readings.of("wen int8", metric)

    what = f"overload at {OVERLOAD} times capacity, int8"
    peak, goodput = of("peak_tokens_per_second"), of("goodput_tokens_per_second")
    shares = [100 * kept / most for most, kept in zip(peak, goodput)]
    detail = f"goodput {Spread.of(goodput)} tokens/s; peak {Spread.of(peak)} tokens/s"
    yield Claim(f"{what}, goodput of the peak", Spread.of(shares), "%", 90, True, detail)

    refusal = [1000 * seconds for seconds in of("refusal_seconds_p99")]
    median = Spread.of([1000 * seconds for seconds in of("refusal_seconds_p50")])
    refused, requests, hinted = (sum(of(name)) for name in ("refused", "requests", "refused_with_retry_after"))
    detail = f"p50 {median} ms; {refused:.0f} of {requests:.0f} requests refused, {hinted:.0f} with Retry-After"
    yield Claim(f"{what}, 429, p99", Spread.of(refusal), " ms", 50, False, detail)

    before, after = of("resident_bytes_before"), of("resident_bytes_after")
    growth = [100 * (later / earlier - 1) for earlier, later in zip(before, after)]
    detail = f"resident {number(statistics.median(before) / 1e6)} MB before, {number(statistics.median(after) / 1e6)} after"
    yield Claim(f"{what}, growth of memory", Spread.of(growth), "%", GROWTH_PERCENT, False, detail)


def adapter(readings: Readings) -> Iterator[Claim]:
    what = "training an adapter of rank 16"
    yield times(f"{what}, int8 base", readings, "tokens_per_second", "wen int8", "PEFT", 6)
    yield times(f"{what}, int8 base, in BF16", readings, "tokens_per_second", "wen int8, BF16", "PEFT BF16", 6)
    yield times(f"{what}, float32 base", readings, "tokens_per_second", "wen float32", "PEFT", None)
    ours, theirs = readings.of("wen int8", "memory_bytes"), readings.of("PEFT", "memory_bytes")
    shares = [100 * our / their for our, their in zip(ours, theirs)]
    gigabytes = [Spread.of([value / 1e9 for value in values]) for values in (ours, theirs)]
    detail = f"Wen {gigabytes[0]} GB; PEFT {gigabytes[1]} GB"
    yield Claim(f"{what}, int8 base, memory of PEFT's", Spread.of(shares), "%", 100 / 3, False, detail)


def whole(readings: Readings) -> Iterator[Claim]:
    what = "training 10 million weights"
    yield times(what, readings, "tokens_per_second", "wen", "PyTorch", 2)
    yield times(f"{what} in BF16", readings, "tokens_per_second", "wen BF16", "PyTorch BF16", 2)


def times(what: str, readings: Readings, metric: str, ours: str, theirs: str, target: float | None) -> Claim:
    """How many times faster than a peer, round by round."""
    our_speeds, their_speeds = readings.of(ours, metric), readings.of(theirs, metric)
    ratios = [our / their for our, their in zip(our_speeds, their_speeds)]
    detail = f"Wen {Spread.of(our_speeds)} tokens/s; {theirs} {Spread.of(their_speeds)} tokens/s"
    return Claim(f"{what}, over {theirs}", Spread.of(ratios), "×", target, True, detail)


def share(what: str, readings: Readings, engine: str, limit: float, target: float | None) -> Claim:
    """How much of what the machine allows."""
    shares = [100 * speed / limit for speed in readings.of(engine, "tokens_per_second")]
    return Claim(what, Spread.of(shares), "%", target, True, f"the limit is {number(limit)} tokens/s")


def markdown(title: str, preamble: list[str], found: list[Claim]) -> str:
    lines = [f"# {title}", "", *preamble, "", "| what | measured | target | met | readings |", "|---|---|---|---|---|"]
    for claim in found:
        met = {None: "", True: "yes", False: "**no**"}[claim.met()]
        value = f"{number(claim.value.median)}{claim.unit} ({number(claim.value.least)} to {number(claim.value.most)})"
        lines.append(f"| {claim.what} | {value} | {claim.target_text()} | {met} | {claim.detail} |")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
