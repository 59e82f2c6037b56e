"""Faster ways to run a model's parts: CUDA graphs on a GPU, ONNX Runtime on a CPU."""
