"""A Llama model of three million parameters, small enough to train on a laptop.

Parameter names and layout are those of Hugging Face's implementation.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CONFIG", "Llama"]

WIDTH = 256
HIDDEN = 704
LAYERS = 4
# In trials, few wide heads were faster on a CPU than more narrow ones: fewer attention scores have
# to be computed.
HEADS = 4
HEAD_WIDTH = 64
ROPE_THETA = 10000.0
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "head_dim": HEAD_WIDTH,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": ROPE_THETA,
    "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "initializer_range": 0.02,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embeddings: [batch, head, time, head width] -> the same shape."""
    # A rotation pairs dimension i with dimension i + half, as Hugging Face's layout requires.
    half = x.shape[-1] // 2
    first = x[..., :half]
    second = x[..., half:]
    rotated = torch.cat((-second, first), -1)
    return x * cos + rotated * sin


class Attention(nn.Module):
    """Causal attention without the fused kernel.

    At this size its backward pass is faster on a CPU than that of the fused kernel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.o_proj = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Return the attention output: [batch, time, width] -> the same shape."""
        batch, time, _ = x.shape
        shape = (batch, time, HEADS, HEAD_WIDTH)
        q = self.q_proj(x).view(shape).transpose(1, 2)
        k = self.k_proj(x).view(shape).transpose(1, 2)
        v = self.v_proj(x).view(shape).transpose(1, 2)
        # Under autocast the projections are bfloat16. Angles in float32 would promote them.
        cos = cos.to(q.dtype)
        sin = sin.to(q.dtype)
        q = _rotate(q, cos, sin)
        k = _rotate(k, cos, sin)
        scores = q @ k.transpose(-1, -2) * HEAD_WIDTH**-0.5
        # The softmax is computed in float32 even under bfloat16 autocast.
        attention = torch.softmax(scores.float() + mask, -1)
        mixed = attention.to(v.dtype) @ v
        joined = mixed.transpose(1, 2).reshape(batch, time, WIDTH)
        out: Tensor = self.o_proj(joined)
        return out


class MLP(nn.Module):
    """A feed-forward block with SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.up_proj = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.down_proj = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output: [batch, time, width] -> the same shape."""
        gate = functional.silu(self.gate_proj(x))
        hidden = gate * self.up_proj(x)
        out: Tensor = self.down_proj(hidden)
        return out


class Layer(nn.Module):
    """Attention and feed-forward block, each on a normalized residual."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.mlp = MLP()
        self.input_layernorm = nn.RMSNorm(WIDTH, eps=1e-5)
        self.post_attention_layernorm = nn.RMSNorm(WIDTH, eps=1e-5)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Return the layer's output: [batch, time, width] -> the same shape."""
        normalized = self.input_layernorm(x)
        x = x + self.self_attn(normalized, cos, sin, mask)
        normalized = self.post_attention_layernorm(x)
        out: Tensor = x + self.mlp(normalized)
        return out


class Llama(nn.Module):
    """The whole model. `state_dict` with the prefix "model." is that of Hugging Face's Llama."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH, eps=1e-5)
        # Every matrix draws random numbers in this order, even if it becomes zero below. Another
        # order would give another model for the same seed.
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.02)
            # Residual branches start at zero, so that the initial model is the identity.
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next token: [batch, time] -> [batch, time, vocabulary]."""
        time = tokens.shape[1]
        exponent = torch.arange(0, HEAD_WIDTH, 2) / HEAD_WIDTH
        frequency = 1.0 / ROPE_THETA**exponent
        angle = torch.outer(torch.arange(time), frequency)
        # Both halves of a head rotate by the same angles; see `_rotate`.
        angle = angle.repeat(1, 2)
        cos = angle.cos()
        sin = angle.sin()
        future = torch.full((time, time), float("-inf"))
        mask = future.triu(1)
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        # The output layer shares its weights with the embedding.
        out: Tensor = functional.linear(self.norm(x), self.embed_tokens.weight)
        return out
