"""Tests with a real chat model, SmolLM2-135M-Instruct, behind the server of vLLM."""
