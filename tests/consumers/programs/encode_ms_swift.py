"""Encode rows with the dataset loader and templates of ms-swift: `… EXPORTS MODEL OUTPUT`.

The output has for each export the tokens and labels of every row. For `qwen_prm` it has the tokens
of every row, and the positions of the scores that the template for Qwen's process reward models
decodes.
"""

import json
import sys
from pathlib import Path

import torch
from swift.dataset import load_dataset
from swift.model import get_processor
from swift.template import get_template

exports, model_folder, output = map(Path, sys.argv[1:])


def rows(name):
    files = [str(path) for path in sorted((exports / name / "data").iterdir())]
    return load_dataset(files, strict=True, load_from_cache_file=False)[0]


def encoded(name):
    processor = get_processor(str(model_folder), model_type="qwen2", download_model=False)
    template = get_template(processor, default_system="", template_type="qwen", max_length=2048)
    template.set_mode("train")
    texts = []
    for row in rows(name):
        made = template.encode(row)
        texts.append([made["input_ids"], made["labels"]])
    return texts


def scored(name):
    processor = get_processor(
        str(model_folder), model_type="qwen2_5_prm", task_type="prm", download_model=False
    )
    template = get_template(processor, template_type="qwen2_5_math_prm", max_length=2048)
    texts = []
    for row in rows(name):
        ids = torch.tensor([template.encode(row)["input_ids"]])
        count = ids.shape[1]
        # As of a model for which the probability of position i of n is (i + 1) / (n + 1).
        numbers = torch.arange(1, count + 1, dtype=torch.float64)
        logits = torch.stack([(count + 1 - numbers).log(), numbers.log()], -1)[None]
        scores = template.decode_prm(ids, logits)[0]
        positions = [round(score * (count + 1)) - 1 for score in scores]
        texts.append([ids[0].tolist(), positions])
    return texts


results = {name: encoded(name) for name in ("chat_steps", "chat_steps_masked", "sft")}
results["verification"] = encoded("verification")
results["qwen_prm"] = scored("qwen_prm")
output.write_text(json.dumps(results), encoding="utf-8")
