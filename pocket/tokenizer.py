"""The pocket model's tokenizer: one token per word and per digit, leading space included."""

from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from pocket.curriculum import lessons
from problems.arithmetic_domain.stories import NAMES, THINGS

__all__ = ["build"]

PIECES = r" ?[A-Za-z]+| ?[0-9]|\n| ?[^\sA-Za-z0-9]|\s"
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
# Enough lessons that every word of the step language occurs in one.
SAMPLE = 30_000


def build() -> Tokenizer:
    """Build the tokenizer from the words of the lessons; any other text becomes `<unk>`."""
    pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    words = set[str]()
    for text in _texts():
        words.update(piece for piece, _ in pre_tokenizer.pre_tokenize_str(text))
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
    """Return lessons, and every name, thing and digit with and without a leading space."""
    source = lessons(Random(0), 8, [])
    texts = list[str]()
    for _ in range(SAMPLE):
        texts.append("".join(text for text, _ in next(source)))
    texts += [f"{digit} {digit}" for digit in range(10)]
    words = list(NAMES)
    for thing in THINGS:
        words += thing
    texts += words
    texts += [f"{word} {word}" for word in words]
    return texts
