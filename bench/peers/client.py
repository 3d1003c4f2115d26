"""A client of OpenAI's completions that takes little of the processor it shares with the server."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from peers.process import Failed
from peers.wen import MODEL

PLAIN_TOKENS = 150_000  # ids below are neither control tokens nor markup
REQUEST_SECONDS = 3600


@dataclass
class Answer:
    """How a request went; times are of one clock, in seconds."""

    sent: float
    status: int = 0
    status_at: float = 0.0
    retry_after: bool = False
    pieces: list[float] = field(default_factory=list)  # when each piece of text came
    tokens: int = 0

    def first_token_seconds(self) -> float:
        return self.pieces[0] - self.sent

    def gaps(self) -> list[float]:
        """Seconds between tokens."""
        return [later - earlier for earlier, later in zip(self.pieces, self.pieces[1:])]


def prompt(seed: int, tokens: int) -> list[int]:
    """Random tokens, other ones for each seed."""
    source = random.Random(seed)
    return [source.randrange(PLAIN_TOKENS) for _ in range(tokens)]


async def complete(port: int, prompt_tokens: list[int], answer_tokens: int) -> Answer:
    """Streams an answer of exactly so many tokens, or is refused."""
    body = json.dumps(
        {
            "model": MODEL,
            "prompt": prompt_tokens,
            "max_tokens": answer_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    answer = Answer(sent=time.perf_counter())
    async with asyncio.timeout(REQUEST_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + body)
            await writer.drain()
            await receive(reader, answer)
        finally:
            writer.close()
    if answer.status == 200 and answer.tokens != answer_tokens:
        raise Failed(f"the server gave {answer.tokens} tokens of {answer_tokens}")
    return answer


async def receive(reader: asyncio.StreamReader, answer: Answer) -> None:
    answer.status = int((await reader.readline()).split()[1])
    answer.status_at = time.perf_counter()
    headers = {}
    while line := (await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    answer.retry_after = "retry-after" in headers
    if answer.status != 200:
        return
    if headers.get("transfer-encoding") != "chunked":
        raise Failed(f"the stream is not chunked: {headers}")
    async for event in events(chunks(reader)):
        if "error" in event:
            raise Failed(f"the stream broke off: {event['error']}")
        if any(choice.get("text") for choice in event["choices"]):
            answer.pieces.append(time.perf_counter())
        if usage := event.get("usage"):
            answer.tokens = usage["completion_tokens"]


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The pieces of a body in HTTP's chunked encoding."""
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def events(body: AsyncIterator[bytes]) -> AsyncIterator[dict]:
    """The JSON of server-sent events."""
    buffer = b""
    async for piece in body:
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if data != line and data and data != b"[DONE]":
                yield json.loads(data)
