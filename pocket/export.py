"""Write a trained checkpoint as it is shipped: `python -m pocket.export --run runs/pocket --to engines/pocket_model`.

The folder is a Hugging Face one (bf16 safetensors, config, tokenizer), which vLLM and transformers load as it is; `ctranslate2/` inside
it is the same weights for the embedded engine.
"""

import argparse
import json
import shutil
from pathlib import Path

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
    "clean_up_tokenization_spaces": False,
    "model_max_length": CONFIG["max_position_embeddings"],
}


def export(run: Path, to: Path) -> None:
    """Write both forms of the checkpoint in `run`."""
    to.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    tokenizer.save(str(to / "tokenizer.json"))
    config = {**CONFIG, "vocab_size": tokenizer.get_vocab_size(), "dtype": "bfloat16"}
    (to / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (to / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")
    (to / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}, indent=2) + "\n"
    )
    weights = {
        f"model.{name}": weight.to(torch.bfloat16)
        for name, weight in load_file(run / "weights.safetensors").items()
    }
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(to / "ctranslate2", ignore_errors=True)
    TransformersConverter(str(to)).convert(str(to / "ctranslate2"), quantization="bfloat16")


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/pocket"))
    parser.add_argument("--to", type=Path, default=Path("engines/pocket_model"))
    options = parser.parse_args()
    export(options.run, options.to)


if __name__ == "__main__":
    main()
