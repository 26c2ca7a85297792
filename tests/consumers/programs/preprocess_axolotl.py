"""Preprocess rows as `axolotl preprocess` does: `preprocess_axolotl.py EXPORTS MODEL OUTPUT`.

The output has for each export the tokens and labels of every row.
"""

import json
import sys
from pathlib import Path

from axolotl.cli.config import load_cfg
from axolotl.common.datasets import load_datasets
from axolotl.utils.dict import DictDefault

STEPS = {"type": "stepwise_supervised", "step_separator": "\n"}
CHAT = {"type": "chat_template", "field_messages": "messages", "message_field_training": "loss"}
KINDS = {
    "trl": STEPS,
    "trl_after_error": STEPS,
    "chat_steps": CHAT,
    "chat_steps_masked": CHAT,
}


def main():
    exports, model_folder, output = map(Path, sys.argv[1:])
    results = {}
    for name, kind in KINDS.items():
        settings = {
            "base_model": str(model_folder),
            "tokenizer_type": "AutoTokenizer",
            "datasets": [{"path": str(exports / name), "split": "train", **kind}],
            "dataset_prepared_path": f"prepared_{name}",
            "output_dir": f"trained_{name}",
            "sequence_len": 2048,
            "micro_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "num_epochs": 1,
            "learning_rate": 1e-4,
            "shuffle_merged_datasets": False,
            "dataset_num_proc": 0,
        }
        if kind is STEPS:
            settings |= {
                "process_reward_model": True,
                "model_type": "AutoModelForTokenClassification",
                "num_labels": 2,
            }
        configuration = load_cfg(DictDefault(settings), is_preprocess=True)
        dataset = load_datasets(cfg=configuration).train_dataset
        results[name] = [[row["input_ids"], row["labels"]] for row in dataset]
    output.write_text(json.dumps(results), encoding="utf-8")


# axolotl starts processes that import this file.
if __name__ == "__main__":
    main()
