"""The audit with the tokenizer and chat template of a real model, against transformers."""

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engines.runtime.tokenizer_folder import load_tokenizer
from storage.formats.texts.training_texts import Chat, MarkedText, SeparatedSteps
from storage.publishing.token_audit import TokenAudit
from tests.chat_model.conversion import model_folder

STEPS = ("2 + 3 = 5.", "5 × 4 = 20, \\(\\frac{20}{1}\\).", "The answer is 20.")


@pytest.fixture(scope="module")
def reference() -> Any:
    with warnings.catch_warnings():
        # The libraries that transformers imports use deprecated names of others.
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(model_folder())


@pytest.fixture(scope="module")
def folder() -> Path:
    return model_folder()


def turns(verdicts: str) -> list[dict[str, str]]:
    messages = []
    for step, verdict in zip(STEPS, verdicts, strict=True):
        messages.append({"role": "user", "content": step})
        messages.append({"role": "assistant", "content": verdict})
    return messages


@pytest.mark.parametrize("max_length", [45, 10_000])
def test_chats_are_those_of_transformers(folder: Path, reference: Any, max_length: int) -> None:
    messages = turns("+-+")
    tokenizer = load_tokenizer(folder)
    text = reference.apply_chat_template(messages, tokenize=False)
    assert tokenizer.render(messages) == text
    ids = reference(text, add_special_tokens=False)["input_ids"]
    encoded = tokenizer.encode(text, special_tokens=False)
    assert [token.id for token in encoded] == ids
    audit = TokenAudit(max_length=max_length)
    assert audit.add(Chat(messages, [False, True] * 3), tokenizer) == len(ids)
    # The verdict is the token before the end of an assistant's turn.
    end = reference.convert_tokens_to_ids("<|im_end|>")
    signs = [reference.convert_tokens_to_ids(sign) for sign in "+-"]
    positions = []
    for position, (sign, after) in enumerate(pairwise(ids)):
        if sign in signs and after == end:
            positions.append(position)
    assert len(positions) == audit.labels == 3
    assert audit.labels_cut == sum(position >= max_length for position in positions)
    assert (audit.split_markers, audit.has_misplaced) == (0, False)


def test_marker_is_several_tokens(folder: Path, reference: Any) -> None:
    text = "How many? " + "\n".join(f"{step} ки" for step in STEPS)
    audit = TokenAudit()
    length = audit.add(MarkedText(text, "ки", 3), load_tokenizer(folder))
    ids = reference(text)["input_ids"]
    assert length == len(ids)
    marker = reference("ки", add_special_tokens=False)["input_ids"]
    assert (audit.split_markers > 0) == (len(marker) > 1)
    assert audit.has_misplaced == (ids.count(marker[-1]) != 3)


def test_separated_steps_have_all_tokens(folder: Path, reference: Any) -> None:
    audit = TokenAudit(max_length=20)
    length = audit.add(SeparatedSteps("How many?", STEPS, [True] * 3), load_tokenizer(folder))
    ids = [reference(text, add_special_tokens=False)["input_ids"] for text in STEPS]
    prompt = reference("How many?", add_special_tokens=False)["input_ids"]
    # The beginning, and a line feed after every step.
    ends = []
    position = 1 + len(prompt)
    for step in ids:
        position += len(step) + 1
        ends.append(position - 1)
    assert (length, audit.labels) == (position, 3)
    assert audit.labels_cut == sum(end >= 20 for end in ends) > 0
