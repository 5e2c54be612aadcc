"""What can compute a network for `predict` and `evaluate`: PyTorch, OpenVINO, ONNX Runtime.

All get the same photos, prepared and normalised by us, and put out what the network does
(`resnets.training.inference.Engine`); in fp32 their probabilities agree to 1e-5.
"""

from resnets.engines.table import AUTO, ENGINES, Ready, check, device_for, open_engine

__all__ = ["AUTO", "ENGINES", "Ready", "check", "device_for", "open_engine"]
