"""The markers of a model's reasoning in a text, as patterns of regular expressions."""

__all__ = ["THINKING_ENDS", "THINKING_STARTS"]

# DeepSeek-R1 and Qwen write "think", Seed "seed:think"; the other tags are those of prompts.
_TAGS = "think|thinking|thought|reasoning|reflection|scratchpad|seed:think"
# Behind the tags the markers of Mistral, Kimi, OpenThoughts and gpt-oss.
THINKING_STARTS = (
    rf"<(?:{_TAGS})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis<\|message\|>"
)
THINKING_ENDS = (
    rf"</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>"
)
