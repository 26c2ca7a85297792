"""Score the rows of `qwen_prm` with vLLM's step pooling: `pool_vllm.py EXPORTS MODEL OUTPUT`.

The output has the scores of the two classes for each row and separator. The weights are random.
"""

import json
import sys
from pathlib import Path

import transformers
from datasets import load_dataset
from vllm import LLM
from vllm.config import PoolerConfig


def main():
    exports, model_folder, output = map(Path, sys.argv[1:])
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    prompts = []
    for row in load_dataset(str(exports / "qwen_prm"), split="train"):
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        prompts.append({"prompt_token_ids": ids})
    # The tokenizer of Qwen has another number for the separator, which vLLM assumes by default.
    separator = tokenizer.convert_tokens_to_ids("<extra_0>")
    model = LLM(
        str(model_folder),
        runner="pooling",
        load_format="dummy",
        dtype="float32",
        enforce_eager=True,
        max_model_len=2048,
        pooler_config=PoolerConfig(tok_pooling_type="STEP", step_tag_id=separator),
    )
    scored = model.encode(prompts, pooling_task="token_classify", use_tqdm=False)
    scores = [result.outputs.data.tolist() for result in scored]
    output.write_text(json.dumps(scores), encoding="utf-8")


# vLLM starts processes that import this file.
if __name__ == "__main__":
    main()
