"""A tokenizer and the chat template of a model folder, without the model and without its code."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from stepmark.errors import ConfigError
from stepmark.visible_text import one_line

__all__ = ["FolderTokenizer", "TextToken", "load_tokenizer"]

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
CHAT_TEMPLATE = "chat_template.jinja"
DEFAULT_TEMPLATE = "default"
BEGINNING = "bos_token"
# Classes of transformers that have no token for the beginning unless a file names one.
CLASSES_WITHOUT_BEGINNING = frozenset(
    {"PreTrainedTokenizerFast", "TokenizersBackend", "Qwen2Tokenizer", "Qwen2TokenizerFast"}
)


class TextToken(NamedTuple):
    """A token, and the part of the text that it is made of: characters from `start` to `end`."""

    id: int
    start: int
    end: int


@dataclass(frozen=True)
class FolderTokenizer:
    """The tokenizer of a folder."""

    folder: Path
    tokenizer: Tokenizer
    special_tokens: Mapping[str, str]
    """Texts of tokens by name, such as `bos_token`, as chat templates use them."""
    template: Template | None
    """The chat template; None if there is none."""
    has_bos: bool
    """Whether trainers put a token for the beginning before a text."""

    def encode(self, text: str, *, special_tokens: bool) -> Sequence[TextToken]:
        """Return the tokens of a text, with their characters in it.

        Args:
            text: The text.
            special_tokens: Whether tokens such as that of the beginning are added. They have no
                characters.

        Raises:
            ConfigError: The tokenizer fails for this text, such as for an unknown character.
        """
        with _config_errors(f"the tokenizer {self.folder} fails for a row"):
            encoding = self.tokenizer.encode(text, add_special_tokens=special_tokens)
        tokens = list[TextToken]()
        end = 0
        for token_id, (first, last), is_added in zip(
            encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True
        ):
            # Added tokens have the characters 0 to 0, also at the end of the text.
            start, end = (end, end) if is_added and special_tokens else (first, last)
            tokens.append(TextToken(token_id, start, end))
        return tokens

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return a conversation as one text.

        Raises:
            ConfigError: The folder has no chat template, or it refuses the conversation.
        """
        if self.template is None:
            raise ConfigError(
                f"the tokenizer {self.folder} has no chat template, which conversations need:"
                f" use that of a chat model, or add {CHAT_TEMPLATE}"
            )
        try:
            return self.template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=False,
                **self.special_tokens,
            )
        # The template is a program of others: it can also divide by zero.
        except Exception as error:
            raise ConfigError(
                f"the chat template of {self.folder} refuses a row: {one_line(str(error))}"
            ) from error


def load_tokenizer(folder: Path) -> FolderTokenizer:
    """Load the tokenizer of a folder.

    Only `tokenizer.json` and the templates are read; code in the folder is never executed.

    Raises:
        ConfigError: A file is missing or damaged.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise ConfigError(
            f"{folder} has no {TOKENIZER}: write it with `save_pretrained` of a fast tokenizer"
        )
    with _config_errors(f"{path} cannot be loaded"):
        tokenizer = Tokenizer.from_file(str(path))
    # The limit of the audit counts, not that of the file.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # The order of transformers: the separate file of older versions wins.
    config = {**_object(folder / CONFIG), **_object(folder / SPECIAL_TOKENS)}
    return FolderTokenizer(
        folder=folder,
        tokenizer=tokenizer,
        special_tokens=_special_tokens(config),
        template=_template(folder, config),
        has_bos=_has_bos(config),
    )


@contextmanager
def _config_errors(message: str) -> Iterator[None]:
    """Raise the errors of the library `tokenizers` as ConfigError."""
    try:
        yield
    except BaseException as error:
        # The library raises only base classes, and panics of its Rust code are no `Exception`.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ConfigError(f"{message}: {one_line(str(error))}") from error
        raise


def _has_bos(config: Mapping[str, Any]) -> bool:
    """Return whether there is a token for the beginning of a text.

    The default of other classes is not in the files. One token too many is the safe assumption: the
    audit then counts no label that is cut as one that is not.
    """
    if BEGINNING in config:
        return BEGINNING in _special_tokens(config)
    name = config.get("tokenizer_class")
    return isinstance(name, str) and name not in CLASSES_WITHOUT_BEGINNING


def _object(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file; an empty one if there is no file."""
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {one_line(str(error))}") from error
    return config if isinstance(config, dict) else {}


def _special_tokens(config: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the texts of tokens; a token is a text or an object with its `content`."""
    texts = dict[str, str]()
    for name, token in config.items():
        text = token.get("content") if isinstance(token, dict) else token
        if name.endswith("_token") and isinstance(text, str):
            texts[name] = text
    return texts


def _template(folder: Path, config: Mapping[str, Any]) -> Template | None:
    path = folder / CHAT_TEMPLATE
    try:
        if path.is_file():
            return _environment().from_string(path.read_text(encoding="utf-8"))
        source = config.get("chat_template")
        # Several templates have names.
        if isinstance(source, list):
            named = {item["name"]: item["template"] for item in source}
            source = named.get(DEFAULT_TEMPLATE)
        return _environment().from_string(source) if isinstance(source, str) else None
    # Jinja compiles a template to Python, which has limits of nesting.
    except Exception as error:
        raise ConfigError(
            f"the chat template of {folder} cannot be read: {one_line(str(error))}"
        ) from error


def _environment() -> ImmutableSandboxedEnvironment:
    """Return the environment of chat templates: that of transformers, which is a sandbox too."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


class _Generation(Extension):
    """The tag `generation` of transformers, which marks the tokens of the assistant.

    Its content is a part of the text like any other.
    """

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the content of the tag."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # That of Jinja escapes characters of HTML. The parameters are those of transformers.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
