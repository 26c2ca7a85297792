"""Read rows with verl's dataset class for RL: `load_verl.py EXPORTS MODEL OUTPUT`."""

import json
import sys
from pathlib import Path

import transformers
from omegaconf import OmegaConf
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

exports, model_folder, output = map(Path, sys.argv[1:])
files = [str(path) for path in sorted((exports / "verl_critic" / "data").iterdir())]
config = OmegaConf.create(
    {"cache_dir": "cache", "max_prompt_length": 2048, "filter_overlong_prompts_workers": 1}
)
tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
dataset = RLHFDataset(data_files=files, tokenizer=tokenizer, config=config)
batch = collate_fn([dataset[index] for index in range(len(dataset))])
rows = []
for index in range(len(dataset)):
    rows.append(
        {
            "prompt": list(batch["raw_prompt"][index]),
            "data_source": batch["data_source"][index],
            "ability": batch["ability"][index],
            "reward_model": batch["reward_model"][index],
            "extra_info": batch["extra_info"][index],
        }
    )
output.write_text(json.dumps(rows), encoding="utf-8")
