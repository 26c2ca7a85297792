"""Train with the trainers of TRL: `train_trl.py EXPORTS MODEL OUTPUT`.

The output has for each trainer and export the tokens of its batches, with the label of each token
(-100 for one that trains nothing), the losses, and for GRPO what the reward function received.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from datasets import load_dataset
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

exports, model_folder, output = map(Path, sys.argv[1:])
tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
COMMON = {
    "max_steps": 2,
    "logging_steps": 1,
    "per_device_train_batch_size": 4,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
}


def load(name):
    return load_dataset(str(exports / name), split="train")


def language_model():
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(model_folder)
    return transformers.AutoModelForCausalLM.from_config(config)


def finish(trainer, texts_of):
    """Train, and return the texts of all rows as the trainer's own collator makes them."""
    trainer.train()
    rows = [trainer.train_dataset[index] for index in range(len(trainer.train_dataset))]
    texts = []
    for row in rows:
        texts.append(texts_of(trainer.data_collator([row, row])))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"texts": texts, "losses": losses}


def labelled(batch, index):
    """Return the tokens and labels of one text of a batch."""
    ids = batch["input_ids"][index]
    labels = batch.get("labels")
    if labels is None:
        mask = batch.get("completion_mask", batch["attention_mask"])[index]
        labels = torch.where(mask.bool(), ids, -100)
    else:
        labels = labels[index]
    present = batch["attention_mask"][index].bool() if "attention_mask" in batch else ids >= 0
    return [ids[present].tolist(), labels[present].tolist()]


def fine_tuned(name):
    arguments = SFTConfig(
        output_dir=f"sft_{name}", assistant_only_loss=True, max_length=2048, **COMMON
    )
    trainer = SFTTrainer(
        language_model(), args=arguments, processing_class=tokenizer, train_dataset=load(name)
    )
    return finish(trainer, lambda batch: labelled(batch, 0))


def preferred(name):
    arguments = DPOConfig(output_dir=f"dpo_{name}", max_length=2048, **COMMON)
    trainer = DPOTrainer(
        language_model(),
        ref_model=language_model(),
        args=arguments,
        processing_class=tokenizer,
        train_dataset=load(name),
    )
    # The chosen texts of a batch come first.
    return finish(trainer, lambda batch: [labelled(batch, 0), labelled(batch, 2)])


def rewarded(name):
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(model_folder, num_labels=1, pad_token_id=0)
    config.pad_token_id = tokenizer.pad_token_id
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    arguments = RewardConfig(output_dir=f"reward_{name}", max_length=2048, **COMMON)
    trainer = RewardTrainer(
        model, args=arguments, processing_class=tokenizer, train_dataset=load(name)
    )
    return finish(trainer, lambda batch: [labelled(batch, 0), labelled(batch, 2)])


def desirable(name):
    arguments = KTOConfig(output_dir=f"kto_{name}", max_length=2048, **COMMON)
    trainer = KTOTrainer(
        language_model(),
        ref_model=language_model(),
        args=arguments,
        processing_class=tokenizer,
        train_dataset=load(name),
    )
    return finish(trainer, lambda batch: [*labelled(batch, 0), bool(batch["label"][0])])


def reinforced(name):
    received = []

    def reward(prompts, completions, first_error, total_steps, **_):
        received.extend(zip(prompts, first_error, total_steps, strict=True))
        return [float(len(completion[0]["content"])) for completion in completions]

    arguments = GRPOConfig(
        output_dir=f"grpo_{name}", num_generations=2, max_completion_length=4, **COMMON
    )
    trainer = GRPOTrainer(
        language_model(),
        reward_funcs=reward,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=load(name),
    )
    trainer.train()
    return received


results = {
    "sft": {n: fine_tuned(n) for n in ("sft", "refinement", "verification", "chat_steps")},
    "dpo": {n: preferred(n) for n in ("pairs", "step_pairs", "critique_pairs")},
    "reward": {n: rewarded(n) for n in ("pairs", "step_pairs", "critique_pairs")},
    "kto": desirable("kto"),
    "grpo": reinforced("verification_tasks"),
}
output.write_text(json.dumps(results), encoding="utf-8")
