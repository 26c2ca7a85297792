"""Encode rows with the dataset loader of LLaMA-Factory: `… EXPORTS MODEL OUTPUT`."""

import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

# LLaMA-Factory imports torchaudio for rows with audio, and its wheels on PyPI are for CUDA alone.
torchaudio = types.ModuleType("torchaudio")
torchaudio.__spec__ = ModuleSpec("torchaudio", None)
sys.modules["torchaudio"] = torchaudio

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer  # noqa: E402
from llamafactory.hparams import get_train_args  # noqa: E402
from llamafactory.model import load_tokenizer  # noqa: E402

exports, model_folder, output = map(Path, sys.argv[1:])
TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}
NAMES = ("chat_steps", "sft", "verification")
information = {}
for name in NAMES:
    (path,) = (exports / name / "data").iterdir()
    information[name] = {
        "file_name": str(path),
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": TAGS,
    }
Path("dataset_info.json").write_text(json.dumps(information), encoding="utf-8")
results = {}
for name in NAMES:
    arguments = {
        "model_name_or_path": str(model_folder),
        "stage": "sft",
        "do_train": True,
        "dataset": name,
        "dataset_dir": ".",
        "template": "chatml",
        "cutoff_len": 2048,
        "output_dir": f"trained_{name}",
        "overwrite_cache": True,
        "use_cpu": True,
        "report_to": "none",
    }
    model_arguments, data_arguments, training_arguments, _, _ = get_train_args(arguments)
    tokenizer = load_tokenizer(model_arguments)["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_arguments)
    dataset = get_dataset(
        template, model_arguments, data_arguments, training_arguments, "sft", tokenizer
    )["train_dataset"]
    results[name] = [[row["input_ids"], row["labels"]] for row in dataset]
output.write_text(json.dumps(results), encoding="utf-8")
