"""The types of the Python API. `public_names` says where the names are at run time."""

from annotators.base import (
    Annotator,
    DependsOnAnnotators,
    FitsPerShard,
    FittableLabeler,
    HasCostBound,
    Labeler,
    ProblemAnnotator,
)
from annotators.context import (
    AnnotationContext,
    ProblemContext,
)
from engines.base import (
    Completion,
    Engine,
    Prompt,
    Scored,
)
from filters.base import (
    Candidate,
    Candidates,
    Filter,
)
from pipelines.api.commands import (
    RunSummary,
    export,
    import_solutions,
    label,
    run,
    score,
)
from pipelines.api.datasets import OpenDataset
from pipelines.api.datasets import open_dataset as open
from problems.base import (
    Oracle,
    Source,
)
from problems.solution_formats.base import (
    ImportedSolution,
    SolutionFormat,
)
from stepmark.errors import (
    EngineError,
    StepmarkError,
    UnusedLabelWarning,
    UserError,
)
from stepmark.identity import (
    operational,
)
from stepmark.records import (
    Annotation,
    Cost,
    Critique,
    Discovered,
    Label,
    Problem,
    Rejected,
    Rollout,
    Sampling,
    StepAnnotation,
    StepLabel,
    Trace,
    Verdict,
)
from storage.formats.base import (
    Example,
    Format,
    LeftOut,
)
from storage.values.base import (
    StepValues,
)
from verifiers.base import (
    AnswerClaim,
    Finding,
    ReferenceClaim,
    StepClaim,
    Verifier,
)

__all__ = [
    "Annotation",
    "AnnotationContext",
    "Annotator",
    "AnswerClaim",
    "Candidate",
    "Candidates",
    "Completion",
    "Cost",
    "Critique",
    "DependsOnAnnotators",
    "Discovered",
    "Engine",
    "EngineError",
    "Example",
    "Filter",
    "Finding",
    "FitsPerShard",
    "FittableLabeler",
    "Format",
    "HasCostBound",
    "ImportedSolution",
    "Label",
    "Labeler",
    "LeftOut",
    "OpenDataset",
    "Oracle",
    "Problem",
    "ProblemAnnotator",
    "ProblemContext",
    "Prompt",
    "ReferenceClaim",
    "Rejected",
    "Rollout",
    "RunSummary",
    "Sampling",
    "Scored",
    "SolutionFormat",
    "Source",
    "StepAnnotation",
    "StepClaim",
    "StepLabel",
    "StepValues",
    "StepmarkError",
    "Trace",
    "UnusedLabelWarning",
    "UserError",
    "Verdict",
    "Verifier",
    "export",
    "import_solutions",
    "label",
    "open",
    "operational",
    "run",
    "score",
]
