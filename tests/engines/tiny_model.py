"""A random Llama of the pocket model's shape, with a word-level tokenizer and a chat template: made in seconds, means nothing."""

import contextlib
import io
from pathlib import Path
from typing import Any

__all__ = ["CHAT_TEMPLATE", "CONTEXT", "WORDS", "build"]

CONTEXT = 256
SPECIALS = ["<unk>", "<s>", "</s>", "<user>", "<assistant>", "<end>"]
WORDS = [f"w{first}{second}" for first in "abcdefghijklmnopqrstuvwxy" for second in "bcdfghjklm"]
VOCABULARY = [*SPECIALS, "\n", *"0123456789", *"+-*/=.,?", *(f" {word}" for word in WORDS)]
PIECES = r"<\w+>|</s>| ?[a-z]+|\n|."
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}<user>{{ m.content }}<end>"
    "{% else %}<assistant>{{ m.content }}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def build(folder: Path) -> Path:
    """Write the model in Hugging Face's layout with CTranslate2's conversion beside it; the weights are the same each time."""
    _save_model(folder)
    _save_tokenizer(folder)
    _convert(folder)
    return folder


def _save_model(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        tie_word_embeddings=True,
        max_position_embeddings=CONTEXT,
        bos_token_id=SPECIALS.index("<s>"),
        eos_token_id=SPECIALS.index("</s>"),
        initializer_range=0.05,
    )
    torch.manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):
        model: Any = LlamaForCausalLM
        model(config).save_pretrained(folder)


def _save_tokenizer(folder: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", SPECIALS.index("<s>"))])
    tokenizer.decoder = decoders.Fuse()
    wrapper: Any = PreTrainedTokenizerFast
    fast = wrapper(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def _convert(folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    with contextlib.redirect_stderr(io.StringIO()):
        TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"), force=True)
