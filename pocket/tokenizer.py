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
        for piece, _ in pre_tokenizer.pre_tokenize_str(text):
            words.add(piece)
    # Sorted, because the order of a set of words depends on Python's hash seed.
    tokens = [*SPECIAL, *sorted(words)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    # Tokens contain their leading space, so the decoder joins them without adding any.
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A",
        special_tokens=[("<bos>", vocabulary["<bos>"])],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _texts() -> list[str]:
    """Return lessons, and every name, thing and digit with and without a leading space."""
    source = lessons(Random(0), 8, [])
    texts = list[str]()
    for _ in range(SAMPLE):
        segments = [text for text, _ in next(source)]
        texts.append("".join(segments))
    for digit in range(10):
        texts.append(f"{digit} {digit}")
    words = list(NAMES)
    for singular_and_plural in THINGS:
        words += singular_and_plural
    for word in words:
        # Once without and once with a leading space, which are different tokens.
        texts.append(f"{word} {word}")
    return texts
