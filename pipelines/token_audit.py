"""The check of an export with the tokenizer of a trainer: no label is lost or misplaced."""

from collections.abc import Callable
from pathlib import Path

from stepmark.errors import ConfigError, DatasetError
from storage.formats.base import Format
from storage.publishing.token_audit import TokenAudit, audit_files, check_auditable

__all__ = ["audit_check"]


def audit_check(
    exporter: Format,
    name_or_folder: str,
    max_length: int | None,
    *,
    allow_cut: bool,
    report: Callable[[TokenAudit], None],
) -> Callable[[Path], None] | None:
    """Return a check of exported files; None without a tokenizer.

    Args:
        exporter: The format.
        name_or_folder: The tokenizer; "" for none.
        max_length: The number of tokens at which the trainer truncates; None for no truncation.
        allow_cut: Whether rows may be longer.
        report: The check calls it with the counts, before it raises an error.

    Raises:
        ConfigError: The tokenizer cannot be loaded, the format has no texts for it, or an option
            depends on the tokenizer that is missing. The check raises it too, if the tokenizer has
            no chat template for the conversations of the format.
        DatasetError: Raised by the check if labels would be lost or misplaced.
    """
    if not name_or_folder:
        if max_length is not None or allow_cut:
            raise ConfigError("--max-length and --allow-cut are for --audit-tokenizer: add it")
        return None
    from engines.runtime.tokenizer_folder import load_tokenizer
    from storage.publishing.hub_tokenizer import tokenizer_folder

    check_auditable(exporter)
    tokenizer = load_tokenizer(tokenizer_folder(name_or_folder))

    def check(folder: Path) -> None:
        audit = audit_files(exporter, folder, tokenizer, max_length)
        report(audit)
        _require_labels(audit, allow_cut=allow_cut)

    return check


def _require_labels(audit: TokenAudit, *, allow_cut: bool) -> None:
    """Check that no label is lost.

    Raises:
        DatasetError: A label is misplaced, or a row is cut and may not be.
    """
    if audit.has_misplaced:
        raise DatasetError(
            f"not exported: with this tokenizer {audit.labels_misplaced} of {audit.labels} labels"
            " would not be at the ends of their steps; use another format or tokenizer"
        )
    if audit.rows_cut and not allow_cut:
        raise DatasetError(
            f"not exported: {audit.rows_cut} of {audit.rows} rows would be cut at"
            f" {audit.max_length} tokens, with {audit.labels_cut} of {audit.labels} labels;"
            f" increase --max-length to {audit.longest}, or accept that with --allow-cut"
        )
