"""A bucket as the home of a store: starts moto's S3 service, which keeps its buckets in memory, and runs the store's test and
`wen` against it.

    python tests/sdk/bucket.py --wen target/debug/wen
"""

import argparse
import logging
import os
import subprocess
import tempfile
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

SETTINGS = "offline = true\n[aliases]\nmine = 'team/absent'\n"


def service() -> dict[str, str]:
    """Starts it, and returns the variables that lead to it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    client = boto3.client("s3", endpoint_url=variables["AWS_ENDPOINT"], region_name="us-east-1",
                          aws_access_key_id="x", aws_secret_access_key="x")
    client.create_bucket(Bucket="models")
    return variables


def settings_of_a_bucket_are_followed(wen: str, environment: dict[str, str]) -> None:
    """They lie where what is used of the bucket does. Every command reads them there."""
    environment = {**environment, "WEN_HUB": "s3://models/wen"}
    subprocess.run([wen, "models"], env=environment, check=True, stdout=subprocess.DEVNULL)
    [directory] = Path(environment["XDG_DATA_HOME"], "wen/buckets").iterdir()
    (directory / "settings.toml").write_text(SETTINGS)
    for command in [["inspect", "mine"], ["chat", "mine", "Hello"], ["pull", "mine"]]:
        asked = subprocess.run([wen, *command], env=environment, capture_output=True, text=True)
        assert asked.returncode and "the network must not be used" in asked.stderr, (command, asked.stderr)


def models_are_kept_in_a_bucket(_wen: str, environment: dict[str, str]) -> None:
    """The store's own test."""
    command = ["cargo", "test", "--quiet", "--package", "hub", "--test", "bucket", "--", "--ignored"]
    subprocess.run(command, env={**environment, "WEN_TEST_BUCKET": "s3://models/test"}, check=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wen", required=True)
    wen = parser.parse_args().wen
    variables = service()
    for check in [settings_of_a_bucket_are_followed, models_are_kept_in_a_bucket]:
        with tempfile.TemporaryDirectory() as home:
            check(wen, {**os.environ, **variables, "XDG_DATA_HOME": home})
            print(f"ok {check.__name__.replace('_', ' ')}", flush=True)


if __name__ == "__main__":
    main()
