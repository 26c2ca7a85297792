"""Train a step head with TRL's PRMTrainer: `train_prm_trl.py EXPORTS MODEL OUTPUT`.

The output has for each export the tokens and labels that the trainer made, and its losses.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from datasets import load_dataset
from trl.experimental.prm import PRMConfig, PRMTrainer

exports, model_folder, output = map(Path, sys.argv[1:])
tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
results = {}
for name in ("trl", "trl_after_error"):
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(model_folder, num_labels=2)
    trainer = PRMTrainer(
        model=transformers.AutoModelForTokenClassification.from_config(config),
        args=PRMConfig(
            output_dir=f"trained_{name}",
            max_steps=3,
            logging_steps=1,
            per_device_train_batch_size=4,
            max_length=2048,
            report_to="none",
            use_cpu=True,
        ),
        processing_class=tokenizer,
        train_dataset=load_dataset(str(exports / name), split="train"),
    )
    trainer.train()
    results[name] = {
        "texts": [[row["input_ids"], row["labels"]] for row in trainer.train_dataset],
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }
output.write_text(json.dumps(results), encoding="utf-8")
