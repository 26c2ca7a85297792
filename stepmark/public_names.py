"""The names of the Python API, and where each is defined.

`stepmark` is the lowest package, and the API is made of all packages above it. The modules are
therefore named by texts and imported when a name is first used: `import stepmark` imports none of
them, and no module of `stepmark` depends on an upper package.
"""

from collections.abc import Mapping

__all__ = ["PUBLIC_NAMES"]

RECORDS = (
    "Annotation",
    "Cost",
    "Critique",
    "Discovered",
    "Label",
    "Problem",
    "Rejected",
    "Rollout",
    "Sampling",
    "StepAnnotation",
    "StepLabel",
    "Trace",
    "Verdict",
)
ERRORS = ("EngineError", "StepmarkError", "UnusedLabelWarning", "UserError")
PROTOCOLS: Mapping[str, tuple[str, ...]] = {
    "annotators.base": (
        "Annotator",
        "DependsOnAnnotators",
        "FitsPerShard",
        "FittableLabeler",
        "HasCostBound",
        "Labeler",
        "ProblemAnnotator",
    ),
    "annotators.context": ("AnnotationContext", "ProblemContext"),
    "engines.base": ("Completion", "Engine", "Prompt", "Scored"),
    "filters.base": ("Candidate", "Candidates", "Filter"),
    "problems.base": ("Oracle", "Source"),
    "problems.solution_formats.base": ("ImportedSolution", "SolutionFormat"),
    "storage.formats.base": ("Example", "Format", "LeftOut"),
    "storage.values.base": ("StepValues",),
    "verifiers.base": ("AnswerClaim", "Finding", "ReferenceClaim", "StepClaim", "Verifier"),
}


def _public_names() -> Mapping[str, str]:
    names = {
        "OpenDataset": "pipelines.api.datasets:OpenDataset",
        "RunSummary": "pipelines.api.commands:RunSummary",
        "operational": "stepmark.identity:operational",
        # Its own name would hide the built-in function in its module.
        "open": "pipelines.api.datasets:open_dataset",
    }
    for command in ("export", "import_solutions", "label", "run", "score"):
        names[command] = f"pipelines.api.commands:{command}"
    modules = {"stepmark.records": RECORDS, "stepmark.errors": ERRORS, **PROTOCOLS}
    for module, members in modules.items():
        for name in members:
            names[name] = f"{module}:{name}"
    return names


PUBLIC_NAMES: Mapping[str, str] = _public_names()
"""The names, each as `module:attribute`."""
