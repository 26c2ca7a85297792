"""The training examples run on exports, learn from them, and the models that they save load."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import stepmark
from engines.pocket import SHIPPED
from pipelines.cli.environment_guard import PACKAGES

EXAMPLES = Path(__file__).parents[2] / "examples"
TEMPLATE = "Problem: {prompt}\nSolution:\n"
# Solutions to train on: few enough that a small model memorizes them in a few seconds.
ROWS = 12
PROGRAMS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_examples_import_nothing_of_stepmark(program: Path) -> None:
    imported = set[str]()
    for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert {"torch", "transformers"} <= imported
    assert imported.isdisjoint({*PACKAGES, "benchmarks", "pocket", "tests"})


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Label 48 traces by the oracle, and export them in three formats."""
    folder = tmp_path_factory.mktemp("training")
    dataset = str(folder / "dataset")
    stepmark.run(
        {
            "dataset": dataset,
            "seed": 5,
            "problems": {"use": "word_problems", "count": 12, "seed": 5, "min_steps": 4},
            "engine": {"use": "pocket"},
            "generate": {
                "prompt": "pocket",
                "traces_per_problem": 4,
                "max_tokens": 320,
                "split": "line",
            },
            "annotators": [{"use": "judge", "prompt": "pocket", "votes": 1, "max_tokens": 420}],
        }
    )
    folders = dict[str, Path]()
    for name in ("trl", "math_shepherd", "verification"):
        folders[name] = folder / name
        stepmark.export(dataset, name, folders[name], labels_by="oracle")
    return folders


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Have PyTorch use one thread: more are slow where other tests run at the same time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def prm_head(one_thread: None) -> ModuleType:
    from examples import prm_head

    return prm_head


@pytest.fixture
def verifier_sft(one_thread: None) -> ModuleType:
    from examples import verifier_sft

    return verifier_sft


def run_example(name: str, *arguments: str | Path) -> str:
    """Run an example as a user does, and return its output."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def read_lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.vllm
def test_formats_give_equal_labels(exports: Mapping[str, Path], prm_head: ModuleType) -> None:
    from_trl = prm_head.read_solutions(exports["trl"])
    from_markers = prm_head.read_solutions(exports["math_shepherd"])
    assert len(from_trl) == len(from_markers) > 20
    labels = set[bool]()
    for solution in from_trl:
        labels.update(solution.labels)
    assert labels == {True, False}
    for plain, marked in zip(from_trl, from_markers, strict=True):
        assert plain.prompt == marked.prompt
        assert list(plain.labels) == list(marked.labels)
        assert [step.strip() for step in marked.steps[:-1]] == list(plain.steps[:-1])


@pytest.mark.vllm
def test_head_learns_and_loads(
    exports: Mapping[str, Path], prm_head: ModuleType, tmp_path: Path
) -> None:
    solutions = prm_head.read_solutions(exports["trl"])[:ROWS]
    options = prm_head.Options(
        template=TEMPLATE, updates=30, batch_size=4, learning_rate=3e-4, seed=1
    )
    prm_head.train(solutions, str(SHIPPED), tmp_path / "prm", options)
    scores = prm_head.score(solutions, tmp_path / "prm", TEMPLATE)
    by_label: dict[bool, list[float]] = {True: [], False: []}
    for solution, step_scores in zip(solutions, scores, strict=True):
        for label, score in zip(solution.labels, step_scores, strict=True):
            by_label[label].append(score)
    assert mean(by_label[True]) > mean(by_label[False]) + 0.2

    file = tmp_path / "scores.jsonl"
    model = ("--model", tmp_path / "prm", "--template", "Problem: {prompt}\\nSolution:\\n")
    run_example("prm_head", "score", exports["trl"], *model, "--to", file)
    rows = read_lines(file)
    assert len(rows) >= len(scores)
    for row, step_scores in zip(rows, scores, strict=False):
        assert row["scores"] == pytest.approx(step_scores, abs=1e-4)


@pytest.mark.vllm
def test_head_trains_by_command(exports: Mapping[str, Path], tmp_path: Path) -> None:
    options = ("--model", SHIPPED, "--to", tmp_path, "--updates", "2", "--max_tokens", "150")
    output = run_example("prm_head", "train", exports["math_shepherd"], *options)
    used, _, rows, *_ = output.split()
    # Rows that are too long are counted, not cut.
    assert 0 < int(used) < int(rows)
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.vllm
def test_head_rejects_rows_without_labels(prm_head: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"prompt": "q", "completions": ["a"], "values": [0.5]}
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    solutions = prm_head.read_solutions(file)
    with pytest.raises(SystemExit, match="no row is left"):
        prm_head.train(solutions, str(SHIPPED), tmp_path, prm_head.Options(updates=1))


@pytest.mark.vllm
def test_validation_rows_are_not_read(
    prm_head: ModuleType, verifier_sft: ModuleType, tmp_path: Path
) -> None:
    # A line separator of Unicode ends no line of JSONL.
    for split, text in (("train", "a\u2028b"), ("validation", "c")):
        row = {
            "prompt": text,
            "completions": ["1"],
            "labels": [True],
            "messages": [{"role": "user", "content": text}],
        }
        file = tmp_path / f"{split}-00000-of-00001.jsonl"
        file.write_text(json.dumps(row, ensure_ascii=False) + "\n\n", encoding="utf-8")
    assert [row.prompt for row in prm_head.read_solutions(tmp_path)] == ["a\u2028b"]
    (chat,) = verifier_sft.read_chats(tmp_path)
    assert chat[0]["content"] == "a\u2028b"
    assert [row.prompt for row in prm_head.read_solutions(file)] == ["c"]


@pytest.mark.vllm
def test_rows_of_other_formats_are_named(
    prm_head: ModuleType, verifier_sft: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "q", "text": "t"}', encoding="utf-8")
    for read, name in (
        (prm_head.read_solutions, "trl"),
        (verifier_sft.read_chats, "verification"),
    ):
        with pytest.raises(SystemExit, match=f"export `{name}`.* row has question, text"):
            read(file)


@pytest.mark.vllm
@pytest.mark.parametrize("text", ["", "\n\n"], ids=["empty", "blank"])
def test_files_without_rows_are_named(
    text: str, prm_head: ModuleType, verifier_sft: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    for read in (prm_head.read_solutions, verifier_sft.read_chats):
        with pytest.raises(SystemExit, match=r"rows\.jsonl has no rows"):
            read(file)


@pytest.mark.vllm
def test_braces_of_templates_are_text(prm_head: ModuleType) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    solution = prm_head.Solution("{x}", ["Step 1"], [True])
    tokens = prm_head.tokenize(solution, tokenizer, "{a} {prompt}\n")
    assert tokens["input_ids"] == tokenizer("{a} {x}\nStep 1\n").input_ids


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("Step 1: 2 correct.\nStep 2: 3 incorrect.", 1),
        ("Step 1: 2 correct.", -1),
        # The solution has no step of this number, so the text is not a verdict.
        ("Step 0: 2 incorrect.", None),
        (f"Step {'9' * 5000}: 2 incorrect.", None),
    ],
    ids=["wrong", "right", "zero", "large"],
)
def test_numbers_of_steps_are_checked(
    reply: str, error: int | None, verifier_sft: ModuleType
) -> None:
    assert verifier_sft.first_error(reply) == error


@pytest.mark.vllm
def test_verifier_learns_and_loads(
    exports: Mapping[str, Path], verifier_sft: ModuleType, tmp_path: Path
) -> None:
    chats = verifier_sft.read_chats(exports["verification"])[:ROWS]
    # The model wrote the replies itself, so they teach nothing. It would not write these.
    for chat in chats:
        chat[-1]["content"] = chat[-1]["content"].replace(" correct", " incorrect")
    options = verifier_sft.Options(updates=20, batch_size=4, learning_rate=3e-4, seed=1)
    verifier = tmp_path / "verifier"
    verifier_sft.train(chats, str(SHIPPED), verifier, options)
    assert mean_loss(verifier_sft, verifier, chats) < 0.5 * mean_loss(verifier_sft, SHIPPED, chats)

    requests = tmp_path / "requests.jsonl"
    rows = [{"messages": chat[:-1]} for chat in chats[:3]]
    requests.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = tmp_path / "replies.jsonl"
    run_example("verifier_sft", "check", requests, "--model", verifier, "--to", file)
    replies = read_lines(file)
    assert len(replies) == len(rows)
    for number, row in enumerate(replies):
        assert row["first_error"] == verifier_sft.first_error(row["reply"]) == 0
        # A request of a batch with longer ones has the same reply as alone.
        alone = verifier_sft.check([chats[number]], verifier, verifier_sft.Options())
        assert alone == [row["reply"]]


def mean_loss(verifier_sft: ModuleType, model: Path, chats: Sequence[Any]) -> float:
    """Return the mean loss of a saved verifier on the replies of chats."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    losses = list[float]()
    for chat in chats:
        row = verifier_sft.tokenize(chat, tokenizer)
        tensors = {name: torch.tensor([values]) for name, values in row.items()}
        losses.append(loaded(**tensors).loss.item())
    return mean(losses)


@pytest.mark.vllm
def test_verdicts_of_exported_replies(
    exports: Mapping[str, Path], verifier_sft: ModuleType
) -> None:
    import pyarrow.parquet as pq

    first_errors = set[int]()
    for file in exports["verification"].rglob("*.parquet"):
        for row in pq.read_table(file).to_pylist():
            expected = -1
            if "incorrect" in row["verdicts"]:
                expected = row["verdicts"].index("incorrect")
            assert verifier_sft.first_error(row["messages"][-1]["content"]) == expected
            first_errors.add(expected)
    assert len(first_errors) > 1


@pytest.mark.vllm
def test_only_replies_are_trained(verifier_sft: ModuleType) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    reply = "Step 1: Ann has 3 apples. correct\n"
    chat = [
        {"role": "user", "content": "Problem: 1\nCheck:\n"},
        {"role": "assistant", "content": reply},
    ]
    tokens = verifier_sft.tokenize(chat, tokenizer)
    trained = [label for label in tokens["labels"] if label != verifier_sft.IGNORED]
    assert trained[:-1] == tokenizer(reply, add_special_tokens=False).input_ids
    assert trained[-1] == tokenizer.eos_token_id
    assert tokens["input_ids"][-len(trained) :] == trained


@pytest.mark.vllm
def test_labels_are_at_line_breaks(prm_head: ModuleType) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    steps = ["Step 1: 3 + 4 = 7.", "Step 2: 8"]
    solution = prm_head.Solution("Ann has 3 apples.", steps, [True, False])
    tokens = prm_head.tokenize(solution, tokenizer, TEMPLATE)
    text = "Problem: Ann has 3 apples.\nSolution:\nStep 1: 3 + 4 = 7.\nStep 2: 8\n"
    # The tokens are those of the whole text.
    assert tokens["input_ids"] == tokenizer(text).input_ids
    prefixes = list[str]()
    labels = list[int]()
    for position, label in enumerate(tokens["labels"], start=1):
        if label != prm_head.IGNORED:
            prefixes.append(tokenizer.decode(tokens["input_ids"][:position]))
            labels.append(label)
    assert labels == [1, 0]
    assert [prefix.splitlines()[-1] for prefix in prefixes] == steps
    assert all(prefix.endswith("\n") for prefix in prefixes)
