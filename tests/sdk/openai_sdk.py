"""The API as the `openai` SDK sees it: starts `wen serve` with the tiny checkpoints of tests/data and uses it.

    python tests/sdk/openai_sdk.py --wen target/debug/wen

The checkpoints are random, so answers are nonsense; what is checked is their shape, and that what has to hold for any
model does. Prints a line for each check; the exit status is 1 if one failed.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

import openai

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "data" / "parity"
KEY = "sk-for-this-test"
MESSAGES = [{"role": "user", "content": "Say something about rivers."}]
SCHEMA = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "green"]}, "ok": {"type": "boolean"}},
    "required": ["color", "ok"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Beijing", "Hangzhou"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def chat(client, **fields):
    return client.chat.completions.create(**{"model": "chat", "messages": MESSAGES, "max_tokens": 24, **fields})


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


@check
def chat_has_an_answer_and_its_usage(client):
    answer = chat(client, temperature=0)
    assert answer.object == "chat.completion" and answer.model == "chat"
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@check
def a_seed_gives_the_same_answer_again(client):
    first, second = (chat(client, seed=7, temperature=1.0).choices[0].message.content for _ in range(2))
    assert first == second


@check
def a_stream_is_the_answer_in_pieces(client):
    options = {"include_usage": True}
    chunks = list(chat(client, temperature=0, stream=True, stream_options=options))
    whole = chat(client, temperature=0)
    pieces = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(piece.delta.content or "" for piece in pieces) == (whole.choices[0].message.content or "")
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == [whole.choices[0].finish_reason]
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [whole.usage.completion_tokens]


@check
def a_required_tool_is_called_with_valid_arguments(client):
    answer = chat(client, tools=[TOOL], tool_choice="required", max_tokens=400)
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls" and call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in ("Beijing", "Hangzhou")


@check
def tool_calls_stream_in_pieces(client):
    name, arguments, reasons = "", "", []
    for chunk in chat(client, tools=[TOOL], tool_choice="required", max_tokens=400, stream=True):
        for choice in chunk.choices:
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for call in choice.delta.tool_calls or []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert name == "get_weather" and reasons == ["tool_calls"]
    assert json.loads(arguments)["city"] in ("Beijing", "Hangzhou")


@check
def tool_results_go_back_to_the_model(client):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Beijing"}'}}
    messages = MESSAGES + [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
    ]
    assert chat(client, messages=messages, tools=[TOOL]).choices[0].finish_reason


@check
def a_schema_holds_for_the_answer(client):
    answer = chat(client, response_format=FORMAT, max_tokens=400)
    value = json.loads(answer.choices[0].message.content)
    assert set(value) == {"color", "ok"} and value["color"] in ("red", "green") and isinstance(value["ok"], bool)
    assert answer.choices[0].finish_reason == "stop"


@check
def reasoning_stands_apart(client):
    thinking = chat(client, extra_body={"enable_thinking": True, "thinking_budget": 8}, max_tokens=64)
    message = thinking.choices[0].message
    assert message.model_extra.get("reasoning_content") and "<think>" not in (message.content or "")
    without = chat(client, extra_body={"enable_thinking": False}).choices[0].message
    assert not without.model_extra.get("reasoning_content")


@check
def chat_tokens_have_log_probabilities(client):
    answer = chat(client, logprobs=True, top_logprobs=2, temperature=0, max_tokens=4)
    tokens = answer.choices[0].logprobs.content
    assert tokens and all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)


@check
def completions_echo_the_prompt_with_log_probabilities(client):
    prompt = "The river runs to the sea"
    fields = {"model": "chat", "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
    answer = client.completions.create(**fields)
    logprobs = answer.choices[0].logprobs
    assert answer.choices[0].text.startswith(prompt) and logprobs.token_logprobs[0] is None
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs)
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])


@check
def embeddings_are_unit_vectors_in_both_encodings(client):
    texts = ["first text", "second text"]
    packed = client.embeddings.create(model="embed", input=texts).data
    plain = client.embeddings.create(model="embed", input=texts, encoding_format="float").data
    for one, other in zip(packed, plain):
        assert one.index == other.index and abs(sum(x * x for x in one.embedding) - 1) < 1e-3
        assert max(abs(x - y) for x, y in zip(one.embedding, other.embedding)) < 1e-6


@check
def rerank_sorts_documents(client):
    body = {"model": "rerank", "query": "river", "documents": ["a stone", "river water", "water"], "top_n": 2}
    results = client.post("/rerank", body=body, cast_to=object)["results"]
    scores = [result["relevance_score"] for result in results]
    assert len(results) == 2 and scores == sorted(scores, reverse=True)
    assert {result["index"] for result in results} <= {0, 1, 2}


@check
def models_are_listed(client):
    assert {model.id for model in client.models.list()} == {"chat", "embed", "rerank"}


@check
def errors_have_their_class_and_name_the_field(client):
    stranger = client.with_options(api_key="sk-wrong")
    assert raises(openai.AuthenticationError, lambda: chat(stranger)).code == "invalid_api_key"
    assert raises(openai.NotFoundError, lambda: chat(client, model="no-such-model")).code == "model_not_found"
    assert raises(openai.BadRequestError, lambda: chat(client, temperature=9)).param == "temperature"
    assert raises(openai.BadRequestError, lambda: chat(client, messages=[])).param == "messages"
    long = [{"role": "user", "content": "river " * 10_000}]
    message = str(raises(openai.BadRequestError, lambda: chat(client, messages=long)))
    assert len(re.findall(r"\d{4,}", message)) >= 2, message


def copy_with_longer_context(name, folder):
    """The fixtures' 512 tokens are few: with their tiny vocabulary a tool's description takes most of them."""
    target = pathlib.Path(folder) / name
    shutil.copytree(FIXTURES / name, target)
    config = json.loads((target / "config.json").read_text())
    config["max_position_embeddings"] = 8192
    (target / "config.json").write_text(json.dumps(config))
    return target


def start(wen, folder):
    served = {"chat": "qwen3-tied", "embed": "qwen3-embedding", "rerank": "qwen3-reranker"}
    models = [f"--model={name}={copy_with_longer_context(path, folder)}" for name, path in served.items()]
    command = [wen, "serve", "--port", "0", "--no-hub", *models]
    environment = {**os.environ, "WEN_API_KEY": KEY, "WEN_LOG": "warn"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wen", required=True, help="the binary")
    wen = parser.parse_args().wen
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        server = start(wen, folder)
        try:
            address = re.search(r"http://\S+", server.stdout.readline()).group()
            client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0, timeout=60)
            for function in CHECKS:
                try:
                    function(client)
                    print(f"ok {function.__name__}", flush=True)
                except Exception:
                    failed += 1
                    print(f"FAIL {function.__name__}\n{traceback.format_exc()}", flush=True)
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(timeout=60)
    if status != 0:
        print(f"FAIL the server ended with status {status}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(1 if failed or status else 0)


if __name__ == "__main__":
    main()
