"""`stepmark export`."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipelines.cli.options import DatasetOption, SideLabelsOption, assignments
from pipelines.cli.side_labels import reported_side_labels
from pipelines.cli.tables import print_counts
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.records import Verdict

__all__ = ["export"]

# One process makes the rows of this many traces in some two seconds, in which another one starts.
MANY_TRACES = 20_000


def export(
    format_: Annotated[
        str,
        typer.Argument(help="One of storage.formats in `stepmark list`.", metavar="FORMAT"),
    ],
    dataset: DatasetOption,
    to: Annotated[str, typer.Option(help="A new folder, or hf://datasets/ORG/NAME.")],
    labels: Annotated[
        str,
        typer.Option(
            help="Export the annotations of this method (human, math_shepherd, …) instead of the "
            "kept labels."
        ),
    ] = "",
    side_labels: SideLabelsOption = "",
    neutral: Annotated[
        Verdict,
        typer.Option(
            help="With --labels: what steps with a neutral rating (the 0 of PRM800K) count as."
        ),
    ] = Verdict.CORRECT,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", help="Set a field of the format: field=value.", metavar="FIELD=VALUE"
        ),
    ] = [],  # noqa: B006
    values: Annotated[
        str,
        typer.Option(
            help="Export the values of this formula, one of storage.values in `stepmark list`, "
            "as soft labels."
        ),
    ] = "",
    with_: Annotated[
        list[str],
        typer.Option(
            "--with", help="Set a field of the values: field=value.", metavar="FIELD=VALUE"
        ),
    ] = [],  # noqa: B006
    soft: Annotated[
        bool,
        typer.Option("--soft", help="Export the values of the steps as labels, not the verdicts."),
    ] = False,
    after_error: Annotated[
        Literal["drop", "mask", "keep"] | None,
        typer.Option(
            help="What happens to the steps after the first error. Default: as the format has it."
        ),
    ] = None,
    where: Annotated[
        str,
        typer.Option(
            help="Export the traces that this query selects, by its column trace_id.",
            metavar="SQL",
        ),
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="The largest number of rows.")] = None,
    balance: Annotated[
        bool,
        typer.Option(
            "--balance", help="Export as many rows with an error as without one, in each split."
        ),
    ] = False,
    validation: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.99, help="The share of the problems that become the split validation."
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="The seed of --balance and --validation.")] = 0,
    with_ids: Annotated[
        bool, typer.Option("--with-ids", help="Add the columns trace_id and problem_id.")
    ] = False,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Add a second copy of every trace with neighbouring steps merged."
        ),
    ] = False,
    audit_tokenizer: Annotated[
        str,
        typer.Option(
            help="Check with the tokenizer of the trained model that no label is lost or "
            "misplaced: a folder, or a name on the Hub.",
            metavar="NAME_OR_FOLDER",
        ),
    ] = "",
    max_length: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --audit-tokenizer: the number of tokens at which the trainer truncates.",
        ),
    ] = None,
    allow_cut: Annotated[
        bool,
        typer.Option("--allow-cut", help="With --audit-tokenizer: export although rows are cut."),
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="The number of processes. Default: one for small datasets."),
    ] = None,
    public: Annotated[
        bool,
        typer.Option("--public", help="Create a public Hub repository. Default: private."),
    ] = False,
    config: Annotated[
        str,
        typer.Option(
            help="The name of the config, which replaces the one of this name in a Hub repository. "
            "Default: the format."
        ),
    ] = "",
    revision: Annotated[
        str, typer.Option(help="The branch of the Hub repository; created if it does not exist.")
    ] = "main",
    tag: Annotated[str, typer.Option(help="Tag this version in the Hub repository: v1.")] = "",
) -> None:
    """Write labelled traces in a trainer's format to a folder or the Hugging Face Hub."""
    from pipelines.run.infrequent_gc import infrequent_gc
    from pipelines.token_audit import audit_check
    from storage.dataset.dataset import Dataset
    from storage.publishing.export import export as write_export
    from storage.publishing.format_fields import label_fields
    from storage.publishing.row_options import RowOptions

    if with_ and not values:
        raise ConfigError("--with sets a field of the values: select them with --values")
    # The user has named a plugin file in the command, so it may be executed.
    build_plugin = partial(plugins.build, from_texts=True, code_folder=Path())
    label_options = label_fields(
        format_, soft=soft or bool(values), after_error=after_error, code_folder=Path()
    )
    fields = {**assignments("--set", settings), **label_options, "use": format_}
    exporter = build_plugin("storage.formats", fields)
    formula = None
    if values:
        fields = {**assignments("--with", with_), "use": values}
        formula = build_plugin("storage.values", fields)
    check = audit_check(
        exporter,
        audit_tokenizer,
        max_length,
        allow_cut=allow_cut,
        report=lambda audit: print_counts(
            f"audit with the tokenizer {audit_tokenizer}", audit.counts()
        ),
    )
    options = RowOptions(
        traces=_selected_traces(dataset, where) if where else None,
        limit=limit,
        balance=balance,
        validation=validation,
        seed=seed,
        with_ids=with_ids,
    )
    source = Dataset(dataset)
    source.require()
    if side_labels and not labels:
        raise ConfigError(
            "--side-labels are labels of people: name a rater with --labels human_NAME"
        )
    by_hand = reported_side_labels(side_labels, source, labels)
    if by_hand is not None:
        by_hand.require(labels)
    with infrequent_gc():
        result = write_export(
            source,
            exporter,
            to,
            labels_by=labels,
            side_labels=by_hand.fitted(labels).by_trace if by_hand else None,
            neutral=neutral,
            values=formula,
            merge=merge,
            private=not public,
            config=config,
            revision=revision,
            tag=tag,
            options=options,
            processes=processes or _suitable_processes(source, limit),
            check=check,
        )
    counts: dict[str, int | str] = {
        "rows": result.rows,
        "distinct solutions with a kept label": result.distinct,
        "trainable rows": result.trainable_rows(),
    }
    if validation:
        counts.update({f"rows of {name}": rows for name, rows in result.split_rows.items()})
    for reason, count in result.left_out.items():
        counts[f"left out: {reason}"] = count
    print_counts(f"exported to {result.destination}", counts)


def _suitable_processes(dataset: Any, limit: int | None) -> int:
    """Return one process for a small export: starting another one takes longer."""
    from storage.dataset.tables import TRACES
    from storage.queries.limits import thread_count

    # The parts of a bucket would each be asked for their size first.
    if not dataset.folder.is_local or (limit is not None and limit < MANY_TRACES):
        return 1
    if dataset.count(TRACES) < MANY_TRACES:
        return 1
    return thread_count()


def _selected_traces(dataset: str, where: str) -> frozenset[str]:
    from pipelines.cli.bounded_query import bounded_query
    from storage.queries.selected_traces import EXAMPLE, trace_ids_of

    try:
        answer = bounded_query(dataset, where)
    except ConfigError as error:
        raise ConfigError(f"--where: {error}; write it as {EXAMPLE}") from error
    return trace_ids_of(answer)
