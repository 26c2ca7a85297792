"""Secrets are recognized by their place or name, and everything else stays as it is."""

import pytest

from stepmark.errors import ConfigError, EngineWarning
from stepmark.secrets import redact, redact_urls, secrets_in, without_secrets


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("http://user:pw@host:8000/v1", "http://REDACTED@host:8000/v1"),
        ("http://token@host/v1", "http://REDACTED@host/v1"),
        ("http://user:p/w@host/v1", "http://REDACTED@host/v1"),
        ("http://user:p#w?@host/v1", "http://REDACTED@host/v1"),
        ("s3://key:pw@bucket/x", "s3://REDACTED@bucket/x"),
        ("https:/user:pw@host/x", "https:/REDACTED@host/x"),
        ("http://host/v1?api-key=k&v=1", "http://host/v1?api-key=REDACTED&v=REDACTED"),
        ("http://host/v1?k", "http://host/v1?REDACTED"),
        ("http://host/#access_token=k", "http://host/#access_token=REDACTED"),
        ("http://host/v1?mail=a@b", "http://host/v1?mail=REDACTED"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://host:s3cret/v1", "http://host:REDACTED/v1"),
        ("http://[::1]:8000s3cret", "http://[::1]:REDACTED"),
        ("http://host:99999/v1", "http://host:99999/v1"),
        ("hf://datasets/org/name@main/x", "hf://datasets/org/name@main/x"),
        ("no URL: a@b?c=d", "no URL: a@b?c=d"),
    ],
)
def test_urls_lose_their_secrets(url: str, public: str) -> None:
    assert without_secrets({"url": url}) == {"url": public}
    assert redact_urls(f"{url}") == public
    assert redact_urls(public) == public


@pytest.mark.parametrize(
    "key",
    [
        *("api_key", "apiKey", "api-key", "X-API-Key", "Ocp-Apim-Subscription-Key", "key"),
        *("token", "hf_token", "access_token", "password", "db_password2", "client_secret"),
        *("Authorization", "auth", "cookie", "signature", "credentials"),
    ],
)
def test_credentials_are_named(key: str) -> None:
    assert without_secrets({key: "s3cret", "a": [{key: "s3cret"}]}) == {
        key: "REDACTED",
        "a": [{key: "REDACTED"}],
    }
    assert "s3cret" in secrets_in({key: "s3cret"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("max_tokens", 5), ("stop_token_ids", [1]), ("eos_token", "</s>"), ("tokenizer", "x")),
        *(("truncate_prompt_tokens", 3), ("prompt_cache_key", "x"), ("author", "x"), ("key", 5)),
        *(("api_key_env", "MY_KEY"), ("key_file", "/x"), ("the secret key", "x"), ("api_key", "")),
        *(("logprobs", True), ("guided_regex", "Basic arithmetic"), ("token", None)),
    ],
)
def test_other_settings_stay(key: str, value: object) -> None:
    assert without_secrets({key: value}) == {key: value}
    assert not secrets_in({key: value})


def test_everything_below_headers_is_secret() -> None:
    settings = {"extra_headers": {"X": "s3cret", "n": [1, {"a": 2}]}, "a": "Bearer sk-12345678"}
    assert without_secrets(settings) == {
        "extra_headers": {"X": "REDACTED", "n": ["REDACTED", {"a": "REDACTED"}]},
        "a": "REDACTED",
    }
    assert "sk-12345678" in secrets_in(settings)


def test_quoted_secrets_are_found() -> None:
    secrets = secrets_in({"url": "http://me:p%40ss-word@host", "api_key": "k3y-k3y"})
    text = "p@ss-word p%40ss-word bWU6cEBzcy13b3Jk k3y-k3y http://a:b@c"
    assert redact(text, secrets) == "REDACTED REDACTED REDACTED REDACTED http://REDACTED@c"
    # One that occurs in texts by chance is not searched for.
    assert redact("a 1", {"1"}) == "a 1"


def test_messages_have_no_secrets() -> None:
    assert "pw" not in str(ConfigError("no answer from http://me:pw@host"))
    assert "pw" not in str(EngineWarning("no answer from http://me:pw@host"))
    assert str(ConfigError("no engine 'me:pw@host'")) == "no engine 'REDACTED@host'"
    message = "no answer from http://host:8000: refused (http://host:8000)"
    assert str(ConfigError(message)) == message


def test_long_texts_are_searched_fast() -> None:
    for part in ("a", "a:", "a:/", "a://", "@", "?", "a://b@"):
        assert redact_urls(part * 100_000)
