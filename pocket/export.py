"""Export a checkpoint: `python -m pocket.export --run runs/pocket --to engines/pocket_model`.

Writes a Hugging Face folder (bf16 safetensors, config, tokenizer) that vLLM and transformers load
without conversion. Its sub-folder `ctranslate2/` holds the same weights for the embedded engine.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from ctranslate2.converters import TransformersConverter
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from pocket.model import CONFIG

TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    # Tokens contain their own spaces; a clean-up would remove some of them.
    "clean_up_tokenization_spaces": False,
    "model_max_length": CONFIG["max_position_embeddings"],
}
# The ids are the positions in the tokenizer's list of special tokens.
GENERATION_CONFIG = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def export(run: Path, to: Path) -> None:
    """Write the checkpoint of a training run in both formats."""
    to.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    tokenizer.save(str(to / "tokenizer.json"))
    config = {
        **CONFIG,
        "vocab_size": tokenizer.get_vocab_size(),
        "dtype": "bfloat16",
    }
    _write_json(to / "config.json", config)
    _write_json(to / "tokenizer_config.json", TOKENIZER_CONFIG)
    _write_json(to / "generation_config.json", GENERATION_CONFIG)
    weights = dict[str, torch.Tensor]()
    trained = load_file(run / "weights.safetensors")
    for name, weight in trained.items():
        # Hugging Face's causal models keep the decoder in an attribute "model".
        weights[f"model.{name}"] = weight.to(torch.bfloat16)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    # The converter refuses to overwrite a folder.
    converted = to / "ctranslate2"
    shutil.rmtree(converted, ignore_errors=True)
    converter = TransformersConverter(str(to))
    converter.convert(str(converted), quantization="bfloat16")


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2)
    path.write_text(f"{text}\n")


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/pocket"), help="the training run")
    parser.add_argument(
        "--to", type=Path, default=Path("engines/pocket_model"), help="the folder to write"
    )
    options = parser.parse_args()
    export(options.run, options.to)


if __name__ == "__main__":
    main()
