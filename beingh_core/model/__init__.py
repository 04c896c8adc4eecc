"""The Being-H0.5 model: vision, mixture-of-transformers decoder, flow matching, MPG, checkpoint I/O."""

from beingh_core.model.beingh import BeingH
from beingh_core.model.config import BeingHConfig, DecoderConfig, ExpertConfig, VisionConfig

__all__ = ["BeingH", "BeingHConfig", "DecoderConfig", "ExpertConfig", "VisionConfig"]
