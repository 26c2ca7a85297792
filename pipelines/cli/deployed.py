"""What `stepmark schedule` and `stepmark deploy` check before they register a deployment."""

from collections.abc import Sequence

from stepmark.errors import ConfigError

__all__ = ["check_overrides", "required_server"]


def check_overrides(overrides: Sequence[str]) -> None:
    """Check that no assignment contains a secret: Prefect stores and displays parameters.

    Raises:
        ConfigError: One contains a secret.
    """
    from pipelines.run.config import public_override

    for override in overrides:
        if public_override(override) != override:
            raise ConfigError(
                f"--set {override.partition('=')[0]}: Prefect would store and display this secret: "
                "write it in the run file"
            )


def required_server(what: str) -> str:
    """Return the URL of the configured Prefect server.

    Args:
        what: What needs the server, for the error message.

    Raises:
        ConfigError: None is configured.
    """
    from pipelines.run.prefect_server import configured_url

    url = configured_url()
    if url is None:
        raise ConfigError(
            f"{what} needs a Prefect server: start one with `prefect server start` "
            "and set PREFECT_API_URL to its address"
        )
    return url
