"""The audit with a tokenizer agrees with what trainers do with the same rows and tokens."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from engines.runtime.tokenizer_folder import FolderTokenizer, load_tokenizer
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.records import Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES
from storage.formats.base import Format
from storage.formats.chat_steps import ChatSteps
from storage.formats.er_prm import ErPrm
from storage.formats.math_shepherd import MathShepherd
from storage.formats.openr import OpenR
from storage.formats.potato import Potato
from storage.formats.prefix_values import PrefixValues
from storage.formats.qwen_prm import QwenPrm
from storage.formats.sft import Sft
from storage.formats.soft_labels import SoftLabels
from storage.formats.texts.training_texts import (
    Chat,
    MarkedText,
    PlainText,
    SeparatedSteps,
    has_training_texts,
    training_texts,
)
from storage.formats.trl import Trl
from storage.publishing.export import export
from storage.publishing.format_fields import KIND
from storage.publishing.token_audit import TokenAudit, audit_files, check_auditable
from tests.columns import column
from tests.storage.samples import BAD, GOOD, PROBLEM, UNKNOWN, labelled

POCKET = Path(__file__).parents[2] / "engines" / "pocket_model"
# Names of the turns without white space: a tokenizer can join them with the content.
TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}"
QWEN_PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TRACES_OF_PROBLEM = 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Write traces of 1 to 12 steps of growing length; some end with an error or are undecided."""
    dataset = Dataset(str(tmp_path_factory.mktemp("audit") / "data"))
    traces = list[Trace]()
    labels = []
    for count in range(1, TRACES_OF_PROBLEM + 1):
        verdicts = [GOOD] * count
        if count % 3 == 0:
            verdicts[-1] = BAD
        if count % 5 == 0:
            verdicts[1] = UNKNOWN
        trace, label = labelled(f"t{count}", *verdicts)
        steps = [f"Then {index} + {count} = {index + count}.\n" for index in range(count)]
        with_values = [replace(step, value=0.5) for step in label.steps]
        traces.append(replace(trace, steps=tuple(steps)))
        labels.append(replace(label, steps=tuple(with_values)))
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(TRACES, 0, traces, "f")
    dataset.write_part(LABELS, 0, labels, "f")
    return dataset


@pytest.fixture(scope="module")
def bytes_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> FolderTokenizer:
    """Return byte-level BPE in which ки and the marker of OpenR are a token each."""
    return trained(
        "Then 1 + 2 = 3.\nки\n step correct \n\n\n\n\n", tmp_path_factory.mktemp("bytes")
    )


def trained(text: str, folder: Path) -> FolderTokenizer:
    """Return byte-level BPE with the pattern of Qwen, and a token for the beginning."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text] * 50, trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]),
        ]
    )
    return saved(tokenizer, folder)


def saved(tokenizer: Tokenizer, folder: Path, template: str = TEMPLATE) -> FolderTokenizer:
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": {"content": "<s>"}, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return load_tokenizer(folder)


def words_tokenizer(folder: Path, *words: str) -> FolderTokenizer:
    """Return a tokenizer of words; all other words are one token."""
    vocabulary = {word: number for number, word in enumerate(("?", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return saved(tokenizer, folder)


def exported(dataset: Dataset, exporter: Format, folder: Path) -> list[dict[str, Any]]:
    export(dataset, exporter, str(folder))
    (path,) = (folder / "data").glob("*.parquet")
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def audit_of(
    exporter: Format, folder: Path, tokenizer: FolderTokenizer, max_length: int | None = None
) -> TokenAudit:
    return audit_files(exporter, folder / "data", tokenizer, max_length)


def trl_labels(row: Mapping[str, Any], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
    """Tokenize a row as `PRMTrainer.tokenize_row` of TRL 1.13; return its labels and length."""
    separator = tokenizer.encode("\n", add_special_tokens=False).ids
    input_ids = [0, *tokenizer.encode(row["prompt"], add_special_tokens=False).ids]
    labels = [-100] * len(input_ids)
    for completion, label in zip(row["completions"], row["labels"], strict=True):
        ids = tokenizer.encode(completion, add_special_tokens=False).ids + separator
        input_ids += ids
        labels += [-100] * (len(ids) - 1) + [int(label)]
    return len([label for label in labels[:max_length] if label != -100]), len(input_ids)


@pytest.mark.parametrize("max_length", [20, 60, 100, 10_000])
@pytest.mark.parametrize("model", ["pocket", "bytes"])
def test_cut_labels_agree_with_trl(
    model: str,
    max_length: int,
    dataset: Dataset,
    bytes_tokenizer: FolderTokenizer,
    tmp_path: Path,
) -> None:
    tokenizer = bytes_tokenizer if model == "bytes" else load_tokenizer(POCKET)
    rows = exported(dataset, Trl(), tmp_path / "out")
    audit = audit_of(Trl(), tmp_path / "out", tokenizer, max_length)
    by_row = [trl_labels(row, tokenizer.tokenizer, max_length) for row in rows]
    remaining, lengths = zip(*by_row, strict=True)
    assert audit.rows == len(rows) > 8
    assert audit.labels == sum(len(row["labels"]) for row in rows)
    assert audit.labels - audit.labels_cut == sum(remaining)
    assert audit.rows_cut == sum(length > max_length for length in lengths)
    assert audit.longest == max(lengths)
    assert (audit.labels_misplaced, audit.split_markers) == (0, 0)


def test_unlabelled_steps_are_no_labels(
    dataset: Dataset, bytes_tokenizer: FolderTokenizer, tmp_path: Path
) -> None:
    exporter = SoftLabels(after_error="mask")
    rows = exported(dataset, exporter, tmp_path / "out")
    audit = audit_of(exporter, tmp_path / "out", bytes_tokenizer)
    assert audit.labels == sum(len(row["values"]) - row["values"].count(None) for row in rows)
    assert (audit.labels_cut, audit.rows_cut, audit.has_misplaced) == (0, 0, False)


def reader_labels(
    text: str, marker: str, ends: Sequence[int], tokenizer: Tokenizer, max_length: int
) -> tuple[int, int, int]:
    """Read a text as the code beside Math-Shepherd, OpenR and ER-PRM: by the id of the marker.

    Returns:
        The labels at the ends of their steps, those cut, and the markers that were found. Whether
        a token is at an end is decided by decoding, not by the offsets that the audit uses.
    """
    marker_id = tokenizer.encode(marker, add_special_tokens=False).ids[-1]
    ids = tokenizer.encode(text).ids
    positions = [index for index, token_id in enumerate(ids) if token_id == marker_id]
    correct = 0
    cut = 0
    for position, end in zip(positions, ends, strict=False):
        if position >= max_length:
            cut += 1
        elif tokenizer.decode(ids[: position + 1]).endswith(text[:end]):
            correct += 1
    return correct, cut, len(positions)


def marked_rows(exporter: Format, row: Mapping[str, Any]) -> tuple[str, str, Sequence[int]]:
    """Return the text, the marker, and the ends of the markers, by plain string functions."""
    (text,) = training_texts(exporter, row)
    assert isinstance(text, MarkedText)
    ends = []
    end = 0
    for part in text.text.split(text.marker)[:-1]:
        end += len(part) + len(text.marker)
        ends.append(end)
    assert text.labels == len(ends)
    return text.text, text.marker, ends


@pytest.mark.parametrize("max_length", [30, 80, 10_000])
@pytest.mark.parametrize("exporter", [MathShepherd(), OpenR(), ErPrm()], ids=str)
def test_markers_agree_with_readers(
    exporter: Format,
    max_length: int,
    dataset: Dataset,
    bytes_tokenizer: FolderTokenizer,
    tmp_path: Path,
) -> None:
    rows = exported(dataset, exporter, tmp_path / "out")
    audit = audit_of(exporter, tmp_path / "out", bytes_tokenizer, max_length)
    correct = 0
    cut = 0
    for row in rows:
        text, marker, ends = marked_rows(exporter, row)
        row_correct, row_cut, markers = reader_labels(
            text, marker, ends, bytes_tokenizer.tokenizer, max_length
        )
        assert markers == len(ends)
        correct += row_correct
        cut += row_cut
    assert audit.labels_cut == cut
    assert audit.labels - audit.labels_cut - audit.labels_misplaced == correct
    assert not audit.has_misplaced
    if max_length == 10_000:
        assert (audit.labels, audit.labels_cut) == (correct, 0)


def test_split_markers_are_counted(dataset: Dataset, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(initial_alphabet=alphabet, vocab_size=256, show_progress=False)
    tokenizer.train_from_iterator([], trainer)
    (tmp_path / "model").mkdir()
    exported(dataset, MathShepherd(), tmp_path / "out")
    audit = audit_of(MathShepherd(), tmp_path / "out", saved(tokenizer, tmp_path / "model"))
    # Four bytes, and the last one is nowhere else.
    assert (audit.split_markers, audit.has_misplaced) == (audit.labels, False)


def test_unknown_marker_is_misplaced(dataset: Dataset, tmp_path: Path) -> None:
    rows = exported(dataset, MathShepherd(), tmp_path / "out")
    audit = audit_of(MathShepherd(), tmp_path / "out", words_tokenizer(tmp_path, "Step"))
    # Every unknown word is the token of the marker, so no label is at its step.
    assert audit.rows_with_many_markers == len(rows) == audit.rows
    assert audit.labels_misplaced == audit.labels > 0
    known = audit_of(MathShepherd(), tmp_path / "out", words_tokenizer(tmp_path, "ки"))
    assert (known.has_misplaced, known.split_markers) == (False, 0)


def test_marker_with_space_is_missing(dataset: Dataset, tmp_path: Path) -> None:
    exported(dataset, MathShepherd(), tmp_path / "out")
    # The space and ки are one token, which readers that search for ки alone do not find.
    audit = audit_of(MathShepherd(), tmp_path / "out", trained("3. ки ки", tmp_path))
    assert audit.rows_with_few_markers == audit.rows > 0
    assert (audit.labels_misplaced, audit.split_markers) == (audit.labels, 0)


def test_earlier_token_is_not_cut(tmp_path: Path) -> None:
    # Alone the marker is `?`. In the text it is a token with the space before it, and the words
    # that are `?` are as many as the markers.
    tokenizer = words_tokenizer(tmp_path, "a").tokenizer
    tokenizer.add_special_tokens([" ки"])
    audit = TokenAudit(max_length=1)
    audit.add(MarkedText("b a ки", "ки", 1), saved(tokenizer, tmp_path))
    assert (audit.labels_cut, audit.labels_misplaced, audit.has_misplaced) == (0, 1, True)


def test_json_lines_are_read(bytes_tokenizer: FolderTokenizer, tmp_path: Path) -> None:
    row = {"prompt": "1\u2028", "completions": ["2", "3"], "labels": [True, False]}
    file = tmp_path / "train-00000-of-00001.jsonl"
    file.write_text(2 * f"{json.dumps(row, ensure_ascii=False)}\n", encoding="utf-8")
    audit = audit_files(Trl(), tmp_path, bytes_tokenizer, None)
    assert (audit.rows, audit.labels) == (2, 4)


def test_omitted_marker_is_missing(dataset: Dataset, tmp_path: Path) -> None:
    rows = exported(dataset, OpenR(), tmp_path / "out")
    # White space is not a token.
    audit = audit_of(OpenR(), tmp_path / "out", words_tokenizer(tmp_path, "Then"))
    assert audit.rows_with_few_markers == len(rows)
    assert audit.labels_misplaced == audit.labels > 0


def chat_labels(
    row: Mapping[str, Any], tokenizer: Tokenizer, max_length: int
) -> tuple[int, int, int]:
    """Tokenize a chat turn by turn, which is exact here: each turn begins with a special token.

    Returns:
        The verdicts whose last token remains, those that are several tokens, and the length.
    """
    length = 0
    remaining = 0
    split = 0
    for message in row["messages"]:
        length += 1
        content = tokenizer.encode(message["content"], add_special_tokens=False).ids
        turn = tokenizer.encode(message["content"] + "\n", add_special_tokens=False).ids
        if message["loss"]:
            remaining += length + len(content) <= max_length
            split += len(content) > 1
        length += len(turn)
    return remaining, split, length


@pytest.mark.parametrize("max_length", [40, 90, 10_000])
@pytest.mark.parametrize("wording", ["signs", "words"])
def test_chat_verdicts_are_found(
    wording: Any,
    max_length: int,
    dataset: Dataset,
    bytes_tokenizer: FolderTokenizer,
    tmp_path: Path,
) -> None:
    exporter = ChatSteps(wording=wording, mask="loss")
    rows = exported(dataset, exporter, tmp_path / "out")
    audit = audit_of(exporter, tmp_path / "out", bytes_tokenizer, max_length)
    by_row = [chat_labels(row, bytes_tokenizer.tokenizer, max_length) for row in rows]
    remaining, split, lengths = zip(*by_row, strict=True)
    labels = sum([message["loss"] for message in row["messages"]].count(True) for row in rows)
    assert audit.labels == labels > 40
    assert audit.labels - audit.labels_cut == sum(remaining)
    assert audit.split_markers == sum(split)
    assert audit.longest == max(lengths)
    assert not audit.has_misplaced


@pytest.mark.parametrize("max_length", [60, 10_000])
def test_separators_of_chats_are_found(max_length: int, dataset: Dataset, tmp_path: Path) -> None:
    exporter = QwenPrm()
    rows = exported(dataset, exporter, tmp_path / "out")
    tokenizer = trained("Then 1 + 2 = 3.\n", tmp_path)
    # Readers search for one token: the first one of `<extra_0>`, or the whole separator.
    for template in (TEMPLATE, "{{ messages[0].content }}\n{{ messages[1].content }}"):
        without = saved(tokenizer.tokenizer, tmp_path, template)
        unknown = audit_of(exporter, tmp_path / "out", without)
        assert unknown.split_markers == unknown.labels_misplaced == unknown.labels > 0
        assert unknown.rows_with_few_markers == len(rows)
    tokenizer.tokenizer.add_special_tokens(["<extra_0>"])
    tokenizer = saved(tokenizer.tokenizer, tmp_path)
    audit = audit_of(exporter, tmp_path / "out", tokenizer, max_length)
    separator = tokenizer.tokenizer.token_to_id("<extra_0>")
    positions = list[int]()
    for row in rows:
        user, assistant = (message["content"] for message in row["messages"])
        text = f"<|user|>{user}\n<|assistant|>{assistant}\n"
        ids = tokenizer.tokenizer.encode(text, add_special_tokens=False).ids
        of_row = [index for index, token in enumerate(ids) if token == separator]
        assert len(of_row) == len(row["labels"])
        positions.extend(of_row)
    assert audit.labels == len(positions) == unknown.labels
    assert audit.labels_cut == sum(position >= max_length for position in positions)
    assert (audit.split_markers, audit.has_misplaced) == (0, False)


def test_joined_separator_is_misplaced(dataset: Dataset, tmp_path: Path) -> None:
    rows = exported(dataset, QwenPrm(), tmp_path / "out")
    # A token of words: alone the separator is one, beside the text of a step it is none.
    audit = audit_of(QwenPrm(), tmp_path / "out", words_tokenizer(tmp_path, "<extra_0>"))
    assert audit.rows_with_few_markers == len(rows)
    assert audit.labels_misplaced == audit.labels > 0


def test_joined_verdict_is_misplaced(dataset: Dataset, tmp_path: Path) -> None:
    exporter = ChatSteps()
    exported(dataset, exporter, tmp_path / "out")
    # The tag of the turn and the verdict are one word.
    joined = audit_of(exporter, tmp_path / "out", words_tokenizer(tmp_path, "+"))
    assert joined.labels_misplaced == joined.labels > 0
    tokenizer = words_tokenizer(tmp_path, "+")
    spaced = saved(tokenizer.tokenizer, tmp_path, TEMPLATE.replace("|>{{", "|> {{"))
    assert not audit_of(exporter, tmp_path / "out", spaced).has_misplaced


def test_rendered_labels_are_the_text(bytes_tokenizer: FolderTokenizer) -> None:
    # A template can contain the verdict, and a message the placeholder.
    messages = [
        {"role": "user", "content": "+ \ue000 +"},
        {"role": "assistant", "content": "+"},
        {"role": "user", "content": "next"},
        {"role": "assistant", "content": "-"},
    ]
    audit = TokenAudit()
    audit.add(Chat(messages, [False, True, False, True]), bytes_tokenizer)
    assert (audit.labels, audit.has_misplaced) == (2, False)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "has no chat template, which conversations need"),
        ("{{ raise_exception('roles must alternate') }}", "refuses a row: roles must alternate"),
        ("{{ 1 / 0 }}", "refuses a row: division by zero"),
        ("{{ messages.__class__.__base__.__subclasses__() }}", "refuses a row: access to attrib"),
        ("{% for", "cannot be read: "),
        ("{% for a in [] %}" * 30 + "{% endfor %}" * 30, "cannot be read: too many"),
        ("{{ messages[0].content }}", "omits or repeats turns, so that labels are lost"),
    ],
)
def test_unusable_templates_are_explained(
    template: str | None, reason: str, dataset: Dataset, tmp_path: Path
) -> None:
    words_tokenizer(tmp_path)
    config = {"chat_template": template} if template else {}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    exported(dataset, ChatSteps(), tmp_path / "out")
    with pytest.raises(ConfigError, match=reason):
        audit_of(ChatSteps(), tmp_path / "out", load_tokenizer(tmp_path))


def test_named_and_separate_templates(tmp_path: Path) -> None:
    words_tokenizer(tmp_path)
    templates = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]
    config = {"chat_template": templates}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_tokenizer(tmp_path).render([]) == "y"
    (tmp_path / "chat_template.jinja").write_text("{{ ['ä<'] | tojson }}{{ bos_token }}")
    assert load_tokenizer(tmp_path).render([]) == '["ä<"]'


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tokenizer.json", None, "has no tokenizer.json: write it with `save_pretrained`"),
        ("tokenizer.json", "{}", "tokenizer.json cannot be loaded: "),
        ("tokenizer_config.json", "[" * 9000, "tokenizer_config.json cannot be read: "),
        ("tokenizer_config.json", '{"chat_template": [1]}', "chat template of .* cannot be read"),
    ],
)
def test_damaged_tokenizers_are_rejected(
    name: str, content: str | None, reason: str, tmp_path: Path
) -> None:
    words_tokenizer(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=reason):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("part", "content", "reason"),
    [
        ("post_processor", {"type": "TemplateProcessing", "special_tokens": {}}, "loaded: "),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, "loaded: Precomp"),
        ("pre_tokenizer", {"type": "FixedLength", "length": 0}, "fails for a row: chunk size"),
        ("model", {"type": "WordLevel", "vocab": {}, "unk_token": "?"}, "fails for a row: Word"),
    ],
)
def test_failing_tokenizers_are_rejected(
    part: str, content: object, reason: str, tmp_path: Path
) -> None:
    words_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    tokenizer = {**json.loads(path.read_text(encoding="utf-8")), part: content}
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(ConfigError, match=reason):
        load_tokenizer(tmp_path).encode("a b", special_tokens=True)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}.", "a."),
        ("{% if tools is not none or documents is not none %}tools{% endif %}b", "b"),
        ("{{ ['é'] | tojson(ensure_ascii=True, separators=(',', ':')) }}", '["\\u00e9"]'),
    ],
)
def test_templates_of_transformers_are_rendered(template: str, text: str, tmp_path: Path) -> None:
    words_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    assert load_tokenizer(tmp_path).render([{"role": "user", "content": "a"}]) == text


@pytest.mark.parametrize(
    ("config", "token_map", "has_bos"),
    [
        ({"bos_token": "<s>"}, None, True),
        ({}, {"bos_token": {"content": "<s>"}}, True),
        ({"bos_token": None}, {"bos_token": "<s>"}, True),
        ({}, None, False),
        ({"tokenizer_class": "GPT2Tokenizer"}, None, True),
        ({"tokenizer_class": "GPT2Tokenizer", "bos_token": None}, None, False),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, None, False),
    ],
)
def test_beginning_is_that_of_trainers(
    config: object, token_map: object, has_bos: bool, tmp_path: Path
) -> None:
    words_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if token_map is not None:
        file = tmp_path / "special_tokens_map.json"
        file.write_text(json.dumps(token_map), encoding="utf-8")
    assert load_tokenizer(tmp_path).has_bos is has_bos


def test_truncation_of_files_is_ignored(tmp_path: Path) -> None:
    tokenizer = words_tokenizer(tmp_path).tokenizer
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokens = saved(tokenizer, tmp_path).encode("a b c", special_tokens=True)
    assert column(tokens, "start", "end") == [(0, 1), (2, 3), (4, 5)]


def test_plain_texts_count_only_length(
    dataset: Dataset, bytes_tokenizer: FolderTokenizer, tmp_path: Path
) -> None:
    exporter = PrefixValues()
    rows = exported(dataset, exporter, tmp_path / "out")
    audit = audit_of(exporter, tmp_path / "out", bytes_tokenizer, 60)
    lengths = [len(bytes_tokenizer.tokenizer.encode(row["prompt_answer"]).ids) for row in rows]
    assert audit.rows_cut == sum(length > 60 for length in lengths) > 0
    assert (audit.longest, audit.labels) == (max(lengths), 0)


def test_conversations_need_no_declaration(
    dataset: Dataset, bytes_tokenizer: FolderTokenizer, tmp_path: Path
) -> None:
    rows = exported(dataset, Sft(), tmp_path / "out")
    audit = audit_of(Sft(), tmp_path / "out", bytes_tokenizer, 100)
    rendered = [f"<|user|>{row['messages'][0]['content']}\n<|assistant|>" for row in rows]
    lengths = list[int]()
    for row, start in zip(rows, rendered, strict=True):
        text = f"{start}{row['messages'][1]['content']}\n"
        lengths.append(len(bytes_tokenizer.tokenizer.encode(text, add_special_tokens=False).ids))
    assert audit.rows_cut == sum(length > 100 for length in lengths) > 0
    assert audit.longest == max(lengths)


def test_only_trainer_formats_have_texts() -> None:
    without = set[str]()
    for name in plugins.available(KIND):
        if not has_training_texts(plugins.load(KIND, name)):
            without.add(name)
    expected = "inspect_scout math_aps potato prm800k prmbench processbench"
    assert without == set(expected.split())
    with pytest.raises(ConfigError, match="formats that do: chat_steps, critique_pairs, er_prm"):
        check_auditable(Potato())


def test_rows_of_several_texts() -> None:
    turns = [[{"role": role, "content": "x"}] for role in ("user", "assistant")]
    row: dict[str, Any] = {"prompt": turns[0], "chosen": turns[1], "rejected": turns[1]}
    pairs = plugins.build(KIND, {"use": "pairs"})
    assert list(training_texts(pairs, row)) == [Chat([*turns[0], *turns[1]])] * 2
    rollouts = plugins.build(KIND, {"use": "rollouts"})
    row = {"problem": "p", "roll_ins": ["a", ""], "roll_outs": ["b", "c"]}
    contents = []
    for chat in training_texts(rollouts, row):
        assert isinstance(chat, Chat)
        contents.append([message["content"] for message in chat.messages])
    assert contents == [["p", "ab"], ["p", "c"]]
    tasks = plugins.build(KIND, {"use": "verification_tasks"})
    assert list(training_texts(tasks, {"prompt": turns[0]})) == [Chat(turns[0])]
    visual = plugins.build(KIND, {"use": "visualprm"})
    assert list(training_texts(visual, {"question": "q", "response": "r"})) == [PlainText("q\nr")]


def test_empty_steps_are_misplaced(tmp_path: Path) -> None:
    # Neither the step nor the separator is a token, so the trainer would shift the labels.
    audit = TokenAudit()
    steps = SeparatedSteps("a", ["b", " "], [True, True])
    assert audit.add(steps, words_tokenizer(tmp_path)) == 3
    assert (audit.labels, audit.labels_misplaced) == (2, 1)
