"""Small runs of every run file in configs/ that needs no GPU, through the command line.

Each function works in the current folder and returns the sets that it records, by their names.
"""

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.golden import project
from tests.golden.rows import Golden, excerpt, export_rows, table_rows

__all__ = ["FLOWS", "POCKET_SETS", "Flow", "folder_of_flow", "run"]

Flow = Callable[[], Mapping[str, Golden]]

CONFIGS = Path(__file__).parents[2] / "configs"
IMPORTED = Path(__file__).with_name("data") / "imported.jsonl"
FORMATS: Mapping[str, Sequence[str]] = {
    "trl": (),
    "trl_whole": ("--after-error", "keep"),
    "trl_merged": ("--merge",),
    "trl_of_monte_carlo": ("--labels", "monte_carlo"),
    "math_shepherd": (),
    "math_shepherd_whole": ("--after-error", "keep"),
    "processbench": (),
    "prm800k": (),
    "prmbench": (),
    "math_aps": (),
    "soft_labels": (),
}
"""By the name of the export, which begins with the format: its options."""
POCKET_SETS = (
    "problems.count=5",
    "shards.problems_per_shard=3",
    "annotators.0.rollouts=2",
    "annotators.1.rollouts=4",
    "annotators.3.votes=2",
)
"""The overrides of the run file of the demo."""
VALUES: Mapping[str, Sequence[str]] = {
    "er_prm": ("--with", "eta=10"),
    "progress": (),
    "rpe": ("--with", "threshold=0.5"),
    "pqm": (),
    "dua_shepherd": (),
    "prefix_tree": (),
}
QUERIES = (
    "FROM step_values ORDER BY trace_id, step_index",
    "FROM trace_scores() ORDER BY ALL",
    "FROM rpe(threshold := 0.5, source := 'prover') ORDER BY trace_id, step_index",
    "SELECT trace_id, class, kept FROM classes ORDER BY trace_id",
)


@contextlib.contextmanager
def folder_of_flow(folder: Path) -> Iterator[None]:
    """Work in a folder with the files that the flows read."""
    shutil.copy(IMPORTED, folder / "imported.jsonl")
    # The first two imported questions are the evaluation set of the contamination filter.
    evaluated = IMPORTED.read_text(encoding="utf-8").splitlines()[:2]
    (folder / "evaluated.jsonl").write_text("\n".join(evaluated) + "\n", encoding="utf-8")
    with contextlib.chdir(folder):
        yield


def pocket() -> Mapping[str, Golden]:
    """Run the demo; export its labels in every format; label it again with fusion and filters."""
    golden = run("pocket", "run", POCKET_SETS)
    score = _stepmark("score", "--dataset", "pocket", "--reliability")
    golden.texts.append({"score": score.splitlines()})
    exports = _exports("pocket", FORMATS)
    relabelled = Golden()
    labels = {
        "fusion": ("label={use='fusion'}",),
        "fusion_with_gold": ("label={use='fusion',gold='oracle',threshold=0.6,power=1}",),
        "filters": (
            "label={use='fusion',threshold=0.5}",
            "filters=[{use='prof',keep=0.5},{use='balance'},{use='confidence',threshold=0.6}]",
        ),
    }
    for name, label in labels.items():
        relabelled.decisions.append({"labels": name})
        relabelled.extend(run("pocket", "label", (*POCKET_SETS, *label), only="labels"))
    return {"pocket": golden, "exports": exports, "relabelled": relabelled}


def adaptive() -> Mapping[str, Golden]:
    """Run adaptive search with the evidence of the formal method."""
    sets = ("problems.count=6", "shards.problems_per_shard=4", "generate.traces_per_problem=5")
    return {"adaptive": run("adaptive", "run", sets)}


def tree() -> Mapping[str, Golden]:
    """Run tree search, whose discovered traces are labelled too."""
    sets = (
        "problems.count=4",
        "generate.traces_per_problem=4",
        "annotators.0.rollouts=4",
        "annotators.0.searches=5",
    )
    return {"tree": run("tree", "run", sets)}


def values() -> Mapping[str, Golden]:
    """Run the methods behind the values; query every formula, and export it."""
    sets = (
        "problems.count=4",
        "generate.traces_per_problem=3",
        "annotators.0.rollouts=2",
        "annotators.1.rollouts=2",
    )
    golden = run("values", "run", sets)
    for query in QUERIES:
        rows = json.loads(_stepmark("sql", query, "--dataset", "values", "--format", "json"))
        golden.decisions.append({"query": query, "rows": len(rows)})
        for row in rows:
            golden.decisions.append({key: _short(value) for key, value in row.items()})
    by_monte_carlo = ("--labels", "monte_carlo")
    exports = dict[str, Sequence[str]]()
    exports["math_aps"] = (*by_monte_carlo, "--values", "er_prm")
    for name, options in VALUES.items():
        exports[f"soft_labels_{name}"] = (*by_monte_carlo, "--values", name, *options)
    golden.extend(_exports("values", exports))
    return {"values": golden}


def formal() -> Mapping[str, Golden]:
    """Label imported solutions with the formal method."""
    _import("formal")
    return {"formal": run("formal", "label", ())}


def filtered() -> Mapping[str, Golden]:
    """Label imported solutions, and filter the labels."""
    _import("filtered")
    source = "{use='files',paths=['evaluated.jsonl']}"
    sets = (f"filters.0.against=[{source}]",)
    return {"filtered": run("filtered", "label", sets)}


def logic() -> Mapping[str, Golden]:
    """Run the logic puzzles, whose steps z3 decides."""
    return {"logic": run("logic", "run", ())}


FLOWS: Sequence[Flow] = (
    pocket,
    adaptive,
    tree,
    values,
    formal,
    filtered,
    logic,
)


def run(config: str, command: str, sets: Sequence[str], *, only: str = "") -> Golden:
    """Run a command with a run file of `configs`, and return the rows of its dataset.

    Args:
        config: The name of the run file, and of the dataset in the current folder.
        command: `run` or `label`.
        sets: The overrides of the run file.
        only: The table to return; "" for all.
    """
    options = ["--set", f"dataset={config}"]
    for override in sets:
        options += ["--set", override]
    _stepmark(command, str(CONFIGS / f"{config}.toml"), *options)
    return table_rows(Path(config), only=only)


def _import(dataset: str) -> None:
    # Each solution ends with its answer as GSM8K's do, so the outcome of every trace is known.
    _stepmark("import", "imported.jsonl", "--dataset", dataset, "--license", "MIT")


def _exports(dataset: str, exports: Mapping[str, Sequence[str]]) -> Golden:
    golden = Golden()
    # Longest first, so that the longest format name that matches is chosen.
    formats = sorted(project.available("storage.formats"), key=len, reverse=True)
    for name, options in exports.items():
        format_ = next(plugin for plugin in formats if name.startswith(plugin))
        folder = f"export_{dataset}_{name}"
        printed = _stepmark("export", format_, "--dataset", dataset, "--to", folder, *options)
        golden.extend(export_rows(Path(folder), name))
        golden.texts.append({"export": name, "printed": printed.splitlines()})
    return golden


def _stepmark(*arguments: str) -> str:
    """Run a command in this process, and return what it prints; a failure is an error."""
    output = io.StringIO()
    errors = io.StringIO()
    before = sys.argv
    sys.argv = ["stepmark", *arguments]
    code: object = 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            project.main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = before
    if code:
        raise AssertionError(f"stepmark {' '.join(arguments)}: {code}\n{errors.getvalue()}")
    return output.getvalue()


def _short(value: object) -> object:
    return excerpt(value) if isinstance(value, str) else value
