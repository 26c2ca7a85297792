"""The pocket model's tokenizer: whole words, one token per digit, a leading space belonging to the token."""

from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from pocket.lessons import lessons
from problems.arithmetic_domain.stories import NAMES, THINGS

__all__ = ["build"]

PIECES = r" ?[A-Za-z]+| ?[0-9]|\n| ?[^\sA-Za-z0-9]|\s"
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
SAMPLE = 30_000


def build() -> Tokenizer:
    """The tokenizer, from the words that lessons are made of; text outside them becomes `<unk>`."""
    pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    words = {piece for text in _texts() for piece, _ in pre_tokenizer.pre_tokenize_str(text)}
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _texts() -> list[str]:
    source = lessons(Random(0), 8, [])
    told = ["".join(text for text, _ in next(source)) for _ in range(SAMPLE)]
    words = [*NAMES, *(word for thing in THINGS for word in thing)]
    digits = [f"{digit} {digit}" for digit in range(10)]
    return [*told, *digits, *(f"{word} {word}" for word in words)]
